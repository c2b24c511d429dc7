"""One line on standard error for each request: when, who, what, how it ended; without queries, labels and tokens."""

from datetime import UTC, datetime

from circlet.terminal import printable

_MOST = 120  # characters of a path


def access_line(client: str, method: str, path: str, status: int, seconds: float, received: int) -> str:
    """The line.

    >>> access_line("127.0.0.1", "POST", "/api/search", 200, 0.0123, 34567)
    '...Z 127.0.0.1 POST /api/search 200 12ms 34567B'

    received: bytes of the body. What a client wrote may hold anything: it is made printable, and cut.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    shown = path if len(path) <= _MOST else f"{path[:_MOST]}..."
    return printable(f"{now} {client} {method[:16]} {shown} {status} {seconds * 1e3:.0f}ms {received}B")
