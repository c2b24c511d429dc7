"""From an application to a process that serves it: a socket, uvicorn, signals, and an end that loses nothing."""

import asyncio
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

GRACE_S = 20  # for requests under way, after the first signal
HEADER_S = 15.0
_KEEP_ALIVE_S = 15


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: a free one. OSError in one line where that cannot be."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except socket.gaierror as error:
        raise OSError(f"host: found {host!r}, which is no address of this machine ({error.strerror})") from None
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(1024)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"port: found {port} in use by another process, expected a free one, such as "
                          f"--port {port + 1}") from None  # fmt: skip
        if error.errno == errno.EACCES:
            raise OSError(f"port: found {port}, which only root may use, expected one from 1024 on") from None
        raise OSError(f"host: {host} cannot be listened on ({error.strerror})") from None
    return found


def address_of(listening: socket.socket) -> str:
    """http://HOST:PORT to open, of a socket that listens; one that takes all addresses is called by this machine's."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = _own_address() or "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: ASGIApp, listening: socket.socket, *, ready: Callable[[], object], behind_proxy: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered, a second signal ends those too.

    ready: called once requests are taken. behind_proxy: believe a proxy on this machine whom it forwards for.
    """
    asyncio.run(make_server(app, ready=ready, behind_proxy=behind_proxy).serve(sockets=[listening]))


def make_server(app: ASGIApp, *, ready: Callable[[], object], behind_proxy: bool = False) -> uvicorn.Server:
    """What `serve` runs; in another thread than the main one it ends by its `should_exit` alone."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # of damaged bodies their clients are told
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
        proxy_headers=behind_proxy, forwarded_allow_ips="127.0.0.1,::1", timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    return _Server(config, ready)


class _Server(uvicorn.Server):
    """Ends in order at a signal, and then lets the caller go on: uvicorn's own would end the process by the signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        if threading.current_thread() is not threading.main_thread():
            return nullcontext()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


class _Protocol(H11Protocol):
    """Closes a connection that does not get its request's head together in time: uvicorn would wait for ever."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._come()
        elif (before is None or before.response_complete) and self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._come()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADER_S, self.transport.close)

    def _come(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def _own_address() -> str | None:
    """The address by which others reach this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])
