"""Requests to stop: Ctrl-C or SIGTERM is noted, and acted upon at the end of a step rather than inside it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequests:
    """Whether the process has been asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: a request waits for the end of the step, a second Ctrl-C interrupts at once.

        A second SIGTERM does not: torchrun and the queue of a cluster may each send one.
        """
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Note SIGINT and SIGTERM within the context; outside the main thread, where Python has no signals, do nothing."""
    stop = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
