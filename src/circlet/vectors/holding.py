"""The lock of a folder, held by a thread of its own.

`circlet.locks.locked` is of the thread that took it: it lets the same thread in again, and only that one can let go. A
store is opened by one thread and closed by any, and a second one is refused even to the thread that has the first.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from circlet.locks import locked


class Held:
    """A folder that is locked until `release`; FolderInUse, an OSError, names who has it."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="circlet-lock")
        try:
            self._thread.submit(self._stack.enter_context, locked(folder)).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def release(self) -> None:
        """Let others write; releasing again does nothing."""
        try:
            self._thread.submit(self._stack.close).result()
        except RuntimeError:  # it has been, or the interpreter is ending, which lets go of it
            return
        self._thread.shutdown()
