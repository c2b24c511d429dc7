"""What is to be trained, in numbers: the size of a job, before any machine is asked what it can do."""

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

Optimizer = Literal["adamw", "adam", "sgd"]
Level = Literal["class", "pair", "joint"]
MOMENTS: dict[Optimizer, int] = {"adamw": 2, "adam": 2, "sgd": 1}
GIB = 2**30


@dataclass(frozen=True)
class Scale:
    """Sizes of a job. Symbols of the formulas in brackets.

    >>> Scale(images=1e6, classes=10_000, ranks=8).own_batch, Scale(images=1e6, classes=10_000, ranks=8).own_classes
    (32, 1250)

    images: that are trained on (N), or embedded. classes: of them (C). ranks: processes, one for each GPU (R).
    ranks_per_host: of them on one machine. batch: images of all ranks in a step (B), a multiple of the ranks.
    dim: of an embedding (D). size: (height, width) that the network sees. channels: of an image. level: class weights,
    the batch itself, or both. sample: share of the class weights that a step meets (s). optimizer: its moments are
    kept for each weight (m of them). half: forward and backward in bf16, weights in fp32. chunk: images whose
    activations a rank holds at a time, 0: all. grad_checkpointing: of a block of the network only its input is kept.
    fsdp: the network's weights are spread over the ranks too. memory: rows of the memory bank (M). in_memory: decoded
    images are kept, on every rank. workers: processes that decode, for each rank. name_bytes: length of an image's
    path. on_gpu: each rank has a GPU; its tensors are there, and the lists of images in the machine's memory.
    streamed: images come in shards, of which no process has a list.

    Raises ValueError that names the setting, what was found and what was expected.
    """

    images: float = 1e6
    classes: float = 1e5
    ranks: int = 1
    ranks_per_host: int = 8
    batch: int = 256
    dim: int = 512
    size: tuple[int, int] = (224, 224)
    channels: int = 3
    level: Level = "joint"
    sample: float = 1.0
    optimizer: Optimizer = "adamw"
    half: bool = True
    chunk: int = 0
    grad_checkpointing: bool = False
    fsdp: bool = False
    memory: int = 0
    in_memory: bool = False
    workers: int = 8
    name_bytes: int = 30
    on_gpu: bool = True
    streamed: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            values = value if isinstance(value, tuple) else (value,)
            if each.name in _COUNTS and not all(_is_count(one, _COUNTS[each.name]) for one in values):
                raise ValueError(f"{each.name}: found {value}, expected a whole number of at least {_COUNTS[each.name]}"
                                 f" and at most {_MOST:g}")  # fmt: skip
        for name, allowed in (("level", get_args(Level)), ("optimizer", get_args(Optimizer))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: found {getattr(self, name)!r}, expected one of {', '.join(allowed)}")
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample: found {self.sample}, expected above 0 and at most 1")
        if self.classes > self.images:
            raise ValueError(f"classes: found {self.classes:g} of {self.images:g} images, expected at most one of each")
        if self.batch % self.ranks:
            raise ValueError(f"batch: found {self.batch} images over {self.ranks} ranks, expected a multiple of them")
        if self.batch > self.images:
            raise ValueError(f"batch: found {self.batch} of {self.images:g} images, expected at most all of them")

    @property
    def own_batch(self) -> int:
        """Images of a rank in a step: b = B / R."""
        return self.batch // self.ranks

    @property
    def at_once(self) -> int:
        """Images whose activations a rank holds at a time: b, or the chunk."""
        return min(self.own_batch, self.chunk) if self.chunk else self.own_batch

    @property
    def own_classes(self) -> int:
        """Classes whose weights a rank holds: c = C / R, rounded up; 0 without class weights."""
        return 0 if self.level == "pair" else -(-int(self.classes) // self.ranks)

    @property
    def met_classes(self) -> int:
        """Of them those that a step meets: s c, at least as many as the batch may need of them."""
        if self.sample == 1:
            return self.own_classes
        return min(self.own_classes, max(round(self.sample * self.own_classes), min(self.batch, self.own_classes)))

    @property
    def steps(self) -> int:
        """Steps of an epoch: N / B, rounded up."""
        return math.ceil(self.images / self.batch)


_MOST = 1e13
_COUNTS = {
    "images": 2, "classes": 2, "ranks": 1, "ranks_per_host": 1, "batch": 2, "dim": 1, "size": 1, "channels": 1,
    "chunk": 0, "memory": 0, "workers": 0, "name_bytes": 1,
}  # fmt: skip


def _is_count(value: float, least: int) -> bool:
    return math.isfinite(value) and value == int(value) and least <= value <= _MOST
