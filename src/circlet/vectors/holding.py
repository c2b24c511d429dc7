"""The lock of a folder, held by a thread of its own.

`circlet.locks.locked` is of the thread that took it: it lets the same thread in again, and only that one can let go. A
store is opened by one thread and closed by any, or by nobody: then its lock goes with it. A second one is refused even
to the thread that has the first.
"""

import threading
import weakref
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

from circlet.locks import locked

_leaving: list[threading.Thread] = []  # of stores that nobody has closed


class Held:
    """A folder that is locked until `release`, or until nobody has this any more; FolderInUse names who has it."""

    def __init__(self, folder: Path) -> None:
        while _leaving:
            _leaving.pop().join()
        taken: Future[None] = Future()
        end: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=_hold, args=(folder, taken, end), name="circlet-lock", daemon=True)
        self._thread.start()
        taken.result()
        self._let_go = weakref.finalize(self, _leave, end, self._thread)

    def release(self) -> None:
        """Let others write; releasing again does nothing."""
        self._let_go()
        self._thread.join()


def _hold(folder: Path, taken: "Future[None]", end: "SimpleQueue[None]") -> None:
    try:
        with locked(folder):
            taken.set_result(None)
            end.get()
    except BaseException as error:
        if taken.done():
            raise
        taken.set_exception(error)


def _leave(end: "SimpleQueue[None]", thread: threading.Thread) -> None:
    """Waits for nothing, since it may run amid anything, when an object that nobody has any more is removed."""
    _leaving.append(thread)
    end.put(None)
