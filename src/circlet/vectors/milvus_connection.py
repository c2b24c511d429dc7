"""A connection to Milvus that shows no password and waits for nothing endlessly.

pymilvus reads a .env file of the folder that somebody stands in, and prints tracebacks of what it also raises; gRPC
writes a line for every process that is forked. None of them does so here.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from circlet.terminal import printable
from circlet.vectors.addresses import MilvusAddress
from circlet.vectors.milvus_file import MilvusFile
from circlet.vectors.servers import AGAIN, was_closed

CONNECT_S, ANSWER_S = 10.0, 60.0
"""Seconds until a server that does not answer counts as down."""
BUILD_S = 3600.0
"""Seconds until an index that is not built, or not loaded, is given up."""
# A ping every ten seconds, as pymilvus has it, is what milvus-lite cuts a connection for; a call has its limit anyway.
_QUIET = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": 0,
          "grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 1_000}  # fmt: skip
_NO_DOTENV = "PYTHON_DOTENV_DISABLED"
_DOWN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "Fail connecting", "Retry timeout", "UNAUTHENTICATED", "PERMISSION_DENIED")
_NOT_LOADED = ("not loaded", "call load()")


def load_pymilvus() -> Any:
    """The module pymilvus, and nothing of the folder that one stands in; an ImportError names the extra."""
    before = os.environ.get(_NO_DOTENV)
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ[_NO_DOTENV] = "1"
    try:
        import pymilvus
    except ImportError as error:
        raise ImportError(f"pymilvus is not installed ({error}); expected the extra: pip install 'circlet[milvus]'"
                          ) from error  # fmt: skip
    finally:
        if before is None:
            del os.environ[_NO_DOTENV]
        else:
            os.environ[_NO_DOTENV] = before
    for name in ("pymilvus", "milvus_lite"):  # what they log as errors they raise as well
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return pymilvus


class Connection:
    """One connection, shared by the threads of this process."""

    def __init__(self, address: MilvusAddress, *, create: bool) -> None:
        load_pymilvus()
        self.address = address
        self.loaded: list[str] = []
        """Collections to be loaded again where a server has been started anew."""
        self._file = MilvusFile(address, create=create) if address.path else None
        self._turn = threading.Lock()
        self._client: Any = None
        self._closed = False
        try:
            with self.explained():
                self._connected()
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any, answer_s: float = ANSWER_S, **settings: Any) -> Any:
        """A method of MilvusClient, with a limit of time.

        Raises ConnectionError where the server is down, OSError where it refuses; both are one line.
        """
        if self._closed:
            was_closed(self.address.shown)
        with self.explained():
            client = self._connected()
            try:
                return getattr(client, method)(*arguments, timeout=answer_s, **settings)
            except load_pymilvus().MilvusException as error:
                if not any(word in str(error) for word in _NOT_LOADED):
                    raise
            for name in self.loaded:
                client.load_collection(name, timeout=BUILD_S)
            return getattr(client, method)(*arguments, timeout=answer_s, **settings)

    def _connected(self) -> Any:
        """The client; a new one after the server could not be reached."""
        with self._turn:
            if self._client is None:
                self._client = load_pymilvus().MilvusClient(
                    self._file.uri if self._file else self.address.uri, token=self.address.token,
                    db_name=self.address.database, timeout=CONNECT_S, dedicated=True, grpc_options=_QUIET,
                )  # fmt: skip
            return self._client

    def _drop(self) -> None:
        with self._turn:
            client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.close()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Within it, an error of the server becomes one line."""
        import grpc

        try:
            yield
        except (grpc.RpcError, load_pymilvus().MilvusException) as error:
            reason = self._harmless(error)
            if isinstance(error, grpc.RpcError) or any(word in str(error) for word in _DOWN):
                self._drop()
                raise ConnectionError(f"{self.address.shown}: the server could not be reached or gave up ({reason}): "
                                      f"{AGAIN}") from None  # fmt: skip
            raise OSError(f"{self.address.shown}: refused by the server ({reason})") from None

    def close(self) -> None:
        """Let go of the connection, and of the file."""
        self._closed = True
        self._drop()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _harmless(self, error: Any) -> str:
        """The first line of a message, without the token."""
        told = getattr(error, "message", "") or (error.details() if hasattr(error, "details") else "") or error
        text = str(told).strip().split("\n")[0]
        for secret in {self.address.token, self.address.token.partition(":")[2]} - {""}:
            text = text.replace(secret, "...")
        return printable(text[:300])
