"""Rates: how much of a kind of work is done in a second, each with the place that it comes from.

A rate is given by a flag, measured on this machine (`circlet.plan.measuring`), or taken from a file of
benchmarks/results; where there is none of the three, no time is told. None is a guess, and none a data sheet's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple


class Rate(NamedTuple):
    """A number a second, and where it is from."""

    value: float
    source: str


class Timed(NamedTuple):
    """A row of a result file: how long a piece of work took."""

    file: str
    case: str
    contender: str
    ms: float


@dataclass(frozen=True)
class Rates:
    """What a process does in a second; None: not known.

    network: operations of forward and backward (3 f an image). pairs: operations of the loss within the batch. classes:
    of the loss with class weights. decode: images that one worker decodes. update: weights that the optimiser moves.
    wire: bytes that a process sends to others. disk: bytes read or written by a machine. message: collectives that a
    process takes part in one after the other, without what they carry. search: operations of exact search.
    """

    network: Rate | None = None
    pairs: Rate | None = None
    classes: Rate | None = None
    decode: Rate | None = None
    update: Rate | None = None
    wire: Rate | None = None
    disk: Rate | None = None
    message: Rate | None = None
    search: Rate | None = None

    def __post_init__(self) -> None:
        for name, rate in self.known().items():
            if not 0 < rate.value < float("inf"):
                raise ValueError(f"{name}: found {rate.value:g} a second, expected a finite number above 0")

    def known(self) -> dict[str, Rate]:
        """Those that there are."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: rate for name, rate in found.items() if rate is not None}

    def but(self, others: Mapping[str, Rate]) -> "Rates":
        """These, with others in the place of some."""
        return replace(self, **others)


# The rows that the rates below come from; tests hold them against the files.
RESNET_50_FLOPS = 8.178e9  # of a forward pass at 224 x 224
STEP = Timed("gpu.md", "ResNet-50, 256 images of 224, bf16, eager", "no loss", 62.72)
PAIRS = Timed("gpu.md", "pair B=16384 D=512 fp32", "circlet", 11.77)
CLASSES = Timed("gpu.md", "class B=1024 D=512 C=1000000 fp32", "circlet", 85.58)
DECODED = Timed("loader.md", "256 x 256", "pipeline", 557.0)  # images a second, not ms
FOUND = Timed("search.md", "circlet", "exact, batch of 100", 523.3)
H100 = "benchmarks/results/gpu.md (H100 80GB HBM3)"


def of_h100() -> Rates:
    """What was measured on an H100 with the embeddings and class weights in fp32, as a training has them.

    The network's is that of ResNet-50 in bf16; one of small filters, such as EfficientNet, reaches less of it.
    """
    network = 256 * 3 * RESNET_50_FLOPS / (STEP.ms / 1e3)
    pairs = 4.0 * 16384**2 * 512 / (PAIRS.ms / 1e3)
    classes = 8.0 * 1024 * 1_000_000 * 512 / (CLASSES.ms / 1e3)
    return Rates(
        network=Rate(network, f"{H100}: ResNet-50, 256 images of 224, bf16, eager"),
        pairs=Rate(pairs, f"{H100}: {PAIRS.case}"),
        classes=Rate(classes, f"{H100}: {CLASSES.case}"),
        decode=Rate(DECODED.ms, "benchmarks/results/loader.md (AMD EPYC): JPEGs of 256 x 256 to 224 x 224, one worker"),
        search=Rate(2.0 * 100 * 1_000_000 * 512 / (FOUND.ms / 1e3),
                    "benchmarks/results/search.md (Xeon, 2 threads): a million vectors, batch of 100"),
    )  # fmt: skip
