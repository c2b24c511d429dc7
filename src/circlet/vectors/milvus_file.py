"""The server that milvus-lite runs in this process for a file of its own (a folder, in truth).

It listens on a socket that this user alone can reach; by itself milvus-lite would take a port that everybody on the
machine can. A file has one server in a process, however many stores are open on it, and one process at a time.
"""

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from circlet.locks import FolderInUse
from circlet.terminal import printable
from circlet.vectors.addresses import MilvusAddress
from circlet.vectors.servers import nothing_there


class _Running(NamedTuple):
    uri: str
    stop: Callable[[], None]
    users: int


_MOST_CHARACTERS = 60  # of a folder for sockets, whose whole names have some 100
_running: dict[str, _Running] = {}
_turn = threading.Lock()


class MilvusFile:
    """A file that is open; `uri` is where its server listens."""

    def __init__(self, address: MilvusAddress, *, create: bool) -> None:
        """Open the file, or make it with `create`.

        Raises FileNotFoundError, FolderInUse (another process has it open), another OSError where it cannot be opened,
        ValueError where it is something else, ImportError that names the extra.
        """
        path = Path(address.path)
        if not path.exists() and not create:
            nothing_there(address.shown, "file")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{address.shown}: found no folder {path.parent}, expected one to make a file in")
        if path.exists() and not (path / "collections").is_dir():
            raise ValueError(
                f"{address.shown}: found something else there, expected a file of milvus-lite 3 or nothing"
            )
        self._path: str | None = str(path.resolve())
        with _turn:
            running = _running.get(self._path) or _started(self._path, address.shown)
            _running[self._path] = running._replace(users=running.users + 1)
        self.uri = running.uri

    def close(self) -> None:
        """Let go of it; the last one to do so stops the server."""
        with _turn:
            path, self._path = self._path, None
            running = _running.pop(path, None) if path else None
            if running is None or path is None:
                return
            if running.users > 1:
                _running[path] = running._replace(users=running.users - 1)
            else:
                running.stop()


def _started(path: str, shown: str) -> _Running:
    try:
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError
    except ImportError as error:
        raise ImportError(f"milvus-lite is not installed ({error}); expected the extra: pip install 'circlet[milvus]'"
                          ) from error  # fmt: skip
    posix = os.name == "posix"
    long = posix and len(tempfile.gettempdir()) > _MOST_CHARACTERS
    folder = tempfile.mkdtemp(prefix="circlet-milvus-", dir="/tmp" if long else None)  # of this user alone
    try:
        server, database, port = start_server_in_thread(path, host=f"unix:{folder}/socket" if posix else "127.0.0.1")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DataDirLockedError):
            raise FolderInUse(f"{shown}: found another process that has it open, expected none: one process at a time "
                              "uses a file of Milvus, a server takes any number") from None  # fmt: skip
        if isinstance(error, MilvusLiteError | OSError | RuntimeError):
            raise OSError(f"{shown}: could not be opened ({printable(str(error))})") from None
        raise

    def stop() -> None:
        with suppress(Exception):
            server.stop(2).wait(10)
        with suppress(Exception):
            database.close()
        shutil.rmtree(folder, ignore_errors=True)

    # The socket's name ends in the port that was asked for: 0.
    return _Running(f"unix:{folder}/socket:0" if posix else f"http://127.0.0.1:{port}", stop, 0)


_process = os.getpid()


@atexit.register
def _stop_all() -> None:
    if os.getpid() != _process:  # a forked process has none of the threads
        return
    with _turn:
        for running in _running.values():
            running.stop()
        _running.clear()
