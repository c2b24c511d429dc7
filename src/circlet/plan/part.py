"""A part of the work: what it takes of memory, time and traffic, for each process and step; bytes and seconds to read.

Memory has three numbers, since not all of it is taken at the same time: what is held from the first step to the last,
what is taken on top while a batch goes forward and back, and what while the weights are moved. The largest sum over all
parts is what a process needs (`peak`).
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One part, for each process.

    held, passes, update: bytes all along; on top of it in the passes; on top of it in the update. host: bytes of the
    machine's memory where the others are those of a GPU; without GPUs it is one memory.
    seconds: of a step; None: no rate is known. overlaps: with the network, as the decoding of the next batch does.
    sent: bytes that a process sends in a step. messages: collectives in a step.
    disk: bytes written, over the whole run, by all processes together.
    """

    name: str
    held: float = 0.0
    passes: float = 0.0
    update: float = 0.0
    host: float = 0.0
    seconds: float | None = 0.0
    overlaps: bool = False
    sent: float = 0.0
    messages: int = 0
    disk: float = 0.0

    @property
    def memory(self) -> float:
        """Bytes where it takes most."""
        return self.held + max(self.passes, self.update)


def peak(parts: Iterable[Part]) -> float:
    """Bytes of a process: of what is held, and the larger of the passes and the update.

    >>> peak([Part("weights", held=100, update=40), Part("activations", passes=300)])
    400.0
    """
    parts = list(parts)
    held, passes, update = (sum(getattr(part, each) for part in parts) for each in ("held", "passes", "update"))
    return float(held + max(passes, update))


def size(num_bytes: float) -> str:
    """Bytes in the unit that suits them, nothing for none.

    >>> size(0), size(900), size(3 * 2**20), size(2.5 * 2**40), size(2**60)
    ('', '900 B', '3.0 MiB', '2.5 TiB', '1,024.0 PiB')
    """
    if num_bytes == 0:
        return ""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = min(max(int(num_bytes).bit_length() - 1, 0) // 10, len(units) - 1)
    return f"{num_bytes:.0f} B" if power == 0 else f"{num_bytes / 2 ** (10 * power):,.1f} {units[power]}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them; "?" for an unknown time, nothing for none.

    >>> duration(None), duration(0), duration(0.0123), duration(90), duration(5 * 3600), duration(1e9)
    ('?', '', '12.3 ms', '90.0 s', '5.0 h', '31.7 years')
    """
    if seconds is None:
        return "?"
    if seconds == 0:
        return ""
    for limit, unit, name in ((1e-3, 1e-6, "us"), (1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"),
                              (172800, 3600, "h"), (3.156e7, 86400, "days")):  # fmt: skip
        if seconds < limit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds / 3.156e7:,.1f} years"
