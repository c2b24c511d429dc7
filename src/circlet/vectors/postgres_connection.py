"""A connection to PostgreSQL that is made again when it was lost, never waits endlessly, and shows no password.

After a pause a word to the server comes first, so that a connection that has died meanwhile (a restart, a firewall) is
found out before anything is done, and made again. What fails later fails: the transaction is then undone by the
server, or was done to its end, and the caller, who cannot know which, may repeat it.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from circlet.terminal import printable
from circlet.vectors.addresses import PostgresAddress
from circlet.vectors.servers import AGAIN, was_closed

if TYPE_CHECKING:
    import psycopg

CONNECT_S = 10
ANSWER_S = 300.0
"""Seconds until a server that does not answer counts as down."""
_LOCK_S, _FRESH_S = 60, 1.0
# A host that vanished is found out after about a minute; TCP by itself waits for hours.
_ALIVE = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 4, "tcp_user_timeout": 60_000}


def load_psycopg() -> ModuleType:
    """The module psycopg; an ImportError names the extra."""
    try:
        import pgvector.psycopg  # noqa: F401
        import psycopg
    except ImportError as error:
        raise ImportError(f"psycopg or pgvector is not installed ({error}); expected the extra: pip install "
                          "'circlet[postgres]'") from error  # fmt: skip
    return psycopg


class Connection:
    """One connection, shared by the threads of this process, one transaction at a time."""

    def __init__(self, address: PostgresAddress) -> None:
        driver = load_psycopg()
        settings: dict[str, Any] = {**_ALIVE, "application_name": "circlet", "client_encoding": "utf8"}
        if "PGCONNECT_TIMEOUT" not in os.environ:
            settings["connect_timeout"] = CONNECT_S
        self._address = address
        try:
            self._settings = {**settings, **driver.conninfo.conninfo_to_dict(address.conninfo)}
        except driver.Error as error:
            raise ValueError(f"location: found an address that PostgreSQL does not know ({self._harmless(error)}), "
                             "expected postgresql://USER@HOST/DATABASE") from None  # fmt: skip
        self._live: psycopg.Connection[Any] | None = None
        self._used = 0.0
        self._turn = threading.RLock()
        self._closed = False

    @contextmanager
    def transaction(self, *, answer_s: float | None = ANSWER_S) -> Iterator[Any]:
        """A cursor, in binary, within a transaction: all of it is done, or nothing.

        answer_s: seconds that it may take in all; None for as long as it takes.

        Raises ConnectionError where the server is down, OSError where it refuses; both are one line.
        """
        with self._turn:
            if self._closed:
                was_closed(self._address.shown)
            with self._explained() as late:
                live = self._answering()
                with _shut_after(answer_s, live, late), live.transaction(), live.cursor(binary=True) as cursor:
                    yield cursor
                self._used = time.monotonic()

    def renew(self) -> None:
        """Have the next transaction make a connection anew: one learns the types of the database as it is made."""
        with self._turn:
            live, self._live = self._live, None
            if live is not None:
                with suppress(Exception):
                    live.close()

    def close(self) -> None:
        """Let go of the connection, for good."""
        with self._turn:
            self._closed = True
            self.renew()

    def _answering(self) -> "psycopg.Connection[Any]":
        """The connection, made again if it has died."""
        driver = load_psycopg()
        if self._live is not None and time.monotonic() - self._used < _FRESH_S:
            return self._live
        if self._live is not None:
            try:
                with _shut_after(CONNECT_S, self._live, []):
                    self._live.execute("SELECT 1")
                return self._live
            except driver.OperationalError:
                self.renew()
        from pgvector.psycopg.vector import register_vector_info

        live: psycopg.Connection[Any] = driver.connect(**self._settings, autocommit=True)
        self._live = live
        live.execute(f"SET lock_timeout = '{_LOCK_S}s'")
        live.execute("SET jit = off")  # compiles for longer than a search takes
        vector = driver.types.TypeInfo.fetch(live, "vector")
        if vector is not None:
            register_vector_info(live, vector)
        return live

    @contextmanager
    def _explained(self) -> Iterator[list[str]]:
        """Within it, an error of the server becomes one line; a reason put into the list has precedence."""
        driver = load_psycopg()
        late: list[str] = []
        try:
            yield late
        except (driver.OperationalError, driver.InterfaceError) as error:
            self.renew()
            reason = late[0] if late else self._harmless(error)
            raise ConnectionError(f"{self._address.shown}: the server could not be reached or gave up ({reason}): "
                                  f"{AGAIN}") from None  # fmt: skip
        except driver.Error as error:
            raise OSError(f"{self._address.shown}: refused by the server ({self._harmless(error)})") from None

    def _harmless(self, error: Exception) -> str:
        """The first line of a message, without secrets."""
        text = (str(error).strip() or type(error).__name__).split("\n")[0]
        for secret in self._address.secrets:
            text = text.replace(secret, "...")
        return printable(text[:300])


@contextmanager
def _shut_after(seconds: float | None, live: "psycopg.Connection[Any]", late: list[str]) -> Iterator[None]:
    """Shut the connection's socket when the time is over, which wakes whoever waits for an answer."""

    def shut() -> None:
        late.append(f"no answer within {seconds:g} s")
        with suppress(Exception), socket.socket(fileno=os.dup(live.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)

    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
