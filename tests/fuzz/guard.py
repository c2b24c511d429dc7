"""A limit of time and of memory for one example, by the operating system: what hangs or takes too much fails.

Time is that of the processor, so that a busy machine fails nothing, and on the clock many times that, for what waits.
"""

import faulthandler
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS, WAITING_SECONDS, BYTES = 5, 60, 2**30


class Hung(BaseException):
    """It took too long; nothing that catches exceptions catches it."""


@contextmanager
def guarded() -> Iterator[None]:
    """Within it more than SECONDS raise `Hung`, and memory beyond BYTES more than before is not given."""

    def hung(*_: Any) -> None:
        raise Hung(f"more than {SECONDS} s of work, or {WAITING_SECONDS} s of waiting")

    before = {number: signal.signal(number, hung) for number in (signal.SIGALRM, signal.SIGPROF)}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITING_SECONDS)
    faulthandler.dump_traceback_later(2 * WAITING_SECONDS, exit=True)  # of what does not come back to Python
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
