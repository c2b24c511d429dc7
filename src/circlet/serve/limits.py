"""How much of the machine requests may take: bytes, pixels, seconds, requests a second, requests at once.

Settings, and what counts; `circlet.serve.guard` asks before a request is looked into. Nothing here waits.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from circlet.serve.refusal import Refusal

MIB = 1 << 20
_MOST_CLIENTS = 10_000


@dataclass(frozen=True)
class Limits:
    """Limits of the service."""

    max_mib: float = 32.0
    """Largest upload, in MiB."""
    max_megapixels: float = 64.0
    """Largest picture, width x height in millions; WebP, AVIF and JPEG 2000 a quarter of it."""
    seconds: float = 60.0
    """For an upload to arrive, and again for its answer."""
    rate: float = 20.0
    """Searches and changes a second that one address may ask for; 0: any number. This machine itself is not counted:
    it is you, or a proxy that stands for many."""
    burst: int = 100
    """How many of them it may ask for at once, after a rest."""
    in_flight: int = 256
    """Requests that are worked on at once; more are told to come again."""
    memory_mib: float = 512.0
    """For all uploads that are worked on at once, in MiB."""
    max_enrolled: int = 100_000
    """Pictures that may be enrolled through the service."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("rate", "max_enrolled") else 1 if field.type is int else 1e-3
            if not least <= value < float("inf"):
                raise ValueError(f"{field.name}: found {value}, expected at least {least:g}")
        if self.memory_mib < self.max_mib:
            raise ValueError(f"memory_mib: found {self.memory_mib:g}, expected at least max_mib, {self.max_mib:g}")


class Buckets:
    """A bucket of tokens for each client: `burst` when full, `rate` more a second; a request takes one.

    >>> now = 0.0
    >>> buckets = Buckets(rate=0.5, burst=2, clock=lambda: now)
    >>> buckets.wait("a"), buckets.wait("a"), buckets.wait("a"), buckets.wait("b")
    (0.0, 0.0, 2.0, 0.0)

    rate 0: no limit. Clients that came longest ago are forgotten beyond ten thousand; IPv6 counts by its network (/64).
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Seconds until the next request is allowed; 0: it is now, and has been counted."""
        if not self.rate:
            return 0.0
        key, now = network_of(client), self.clock()
        left, then = self._left.pop(key, (float(self.burst), now))
        left = min(self.burst, left + (now - then) * self.rate)
        allowed = left >= 1.0
        self._left[key] = (left - allowed, now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self.rate


class Room:
    """How much there is of something, such as bytes of memory, and who has it; beyond that a 503."""

    def __init__(self, most: float, sentence: str) -> None:
        self.most, self.sentence, self.taken = most, sentence, 0.0

    def take(self, amount: float) -> None:
        """Refusal (503) where that much is not left."""
        if self.taken + amount > self.most:
            raise Refusal(503, self.sentence, retry_s=1)
        self.taken += amount

    def give(self, amount: float) -> None:
        """Back again."""
        self.taken -= amount

    @contextmanager
    def held(self, amount: float) -> Iterator[None]:
        """Within it that much is taken."""
        self.take(amount)
        try:
            yield
        finally:
            self.give(amount)


def network_of(client: str) -> str:
    """What a client's address is counted by.

    >>> network_of("192.0.2.7"), network_of("2001:db8::1:2"), network_of("testclient")
    ('192.0.2.7', '2001:db8::', 'testclient')
    """
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)


def is_loopback(client: str) -> bool:
    """Whether an address is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("192.0.2.7")
    (True, True, True, False)
    """
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client.lower() == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
