"""The settings of training that starts from a pretrained network and protects it."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from circlet.transfer.head import HeadConfig

StageName = Literal["closed_form", "head", "network"]
STAGES: tuple[StageName, ...] = ("closed_form", "head", "network")


@dataclass(frozen=True)
class TransferConfig:
    """Stages of training from a pretrained network; each is kept only if validation classes say that it is better."""

    stages: tuple[StageName, ...] = ()
    """closed_form: the frozen network's features, whitened; head: a linear head on them, trained from there; network:
    the network too, from there (--minutes adds it where the time allows, --steps always). Without any stage, all is
    trained from the start."""
    minutes: Annotated[float | None, tyro.conf.arg(aliases=["--minutes"])] = None
    """Time for everything, from the first image to the report, kept within a tenth; None: what the stages take."""
    shrinkages: tuple[float, ...] = (0.1, 0.3, 1.0)
    """Tried by closed_form: how much of the average variance is added to all (whitening)."""
    folds: int = 3
    """Parts of the training classes, each of which judges once; fewer where a part would have less than 4 classes."""
    looks: int = 1
    """Looks at each training image that the head is trained on: 1: as in testing; 2: its mirror image too; up to 10:
    its corners and theirs. Each takes the network once more."""
    head: HeadConfig = field(default_factory=HeadConfig)
    mixes: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Tried after network: shares of the trained weights in the mean with those before (WiSE-FT)."""
    size: tuple[int, int] | None = None
    """Height and width that the network sees in its training; None: about .7 of those in testing where it can take
    that, since random crops show things larger (Touvron et al. 2019)."""
    low_rank: int = 0
    """Train low-rank adapters of this rank in place of the network's weights (LoRA); 0: the weights."""

    def __post_init__(self) -> None:
        order = [STAGES.index(stage) for stage in self.stages]
        if order != sorted(set(order)):
            raise ValueError(f"transfer.stages: found {' '.join(self.stages)}, expected each at most once, in the "
                             f"order {' '.join(STAGES)}")  # fmt: skip
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ValueError(f"minutes: found {self.minutes}, expected a number above 0")
        if self.minutes is not None and not self.stages:
            raise ValueError("minutes: found with no transfer.stages, expected some: only they are planned by time (or "
                             "--loop.seconds, for the training alone)")  # fmt: skip
        if not self.shrinkages or min(self.shrinkages) < 0:
            raise ValueError(f"transfer.shrinkages: found {self.shrinkages}, expected numbers of 0 or more")
        if self.folds < 2:
            raise ValueError(f"transfer.folds: found {self.folds}, expected at least 2")
        if not 1 <= self.looks <= 10:
            raise ValueError(f"transfer.looks: found {self.looks}, expected 1 to 10")
        if not self.mixes or not all(0 < share <= 1 for share in self.mixes):
            raise ValueError(f"transfer.mixes: found {self.mixes}, expected shares above 0 and at most 1")
        if self.low_rank < 0:
            raise ValueError(f"transfer.low_rank: found {self.low_rank}, expected 0 or a rank")
