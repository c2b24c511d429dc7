"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere (logs, CI)."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0
_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silenced(when: bool = True) -> Iterator[None]:
    """Within it, in this thread, no progress is shown that begins there: what is done is a part of something shown.

    when: else all is as it was outside.
    """
    token = _silent.set(when or _silent.get())
    try:
        yield
    finally:
        _silent.reset(token)


class Progress:
    """Counts steps; shows rate, time left and the latest values."""

    def __init__(self, title: str, total: int, done: int, file: TextIO, unit: str = "it") -> None:
        self.title, self.total, self.done, self.file = title, total, done, file
        self.first, self.started = done, time.monotonic()
        self.shown = self.started
        self.bar: Any = None
        self.silent = _silent.get()
        if file.isatty() and not self.silent:
            self.bar = tqdm(desc=title, total=total, initial=done, file=file, delay=1, unit=unit)

    def advance(self, count: int = 1, **values: float) -> None:
        """So many more steps are done; `values` are shown beside them."""
        self.done += count
        text = "".join(f", {name} {value:.4g}" for name, value in values.items())
        if self.bar is not None:
            self.bar.set_postfix_str(text.lstrip(", "), refresh=False)
            self.bar.update(count)
            return
        now = time.monotonic()
        if self.silent or now - self.shown < SECONDS_BETWEEN_LINES:
            return
        self.shown = now
        rate = (self.done - self.first) / max(now - self.started, 1e-9)
        left = (self.total - self.done) / rate
        self.print(f"{self.title}: {self.done}/{self.total}, {rate:.1f}/s, {left:.0f} s left{text}")

    def print(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self.bar is not None:
            self.bar.write(line, file=self.file)
        else:
            print(line, file=self.file, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()


@contextmanager
def progress(title: str, total: int, done: int = 0, file: TextIO | None = None, unit: str = "it") -> Iterator[Progress]:
    """Show the progress of `total` steps (`unit` each), `done` of them already; on standard error unless told."""
    shown = Progress(title, total, done, file or sys.stderr, unit)
    try:
        yield shown
    finally:
        shown.close()
