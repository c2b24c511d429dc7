"""Contenders: one training step (forward and backward) of each loss to compare, on the same data.

Every builder gives a function without arguments; gradients are thrown away by `Case.forget`. B batch, C classes, D dim.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from circlet import aggregate, functional
from circlet.rules import Circle
from circlet.similarity import dense
from circlet.similarity.pairs import Pairs

MARGIN, GAMMA, PER_CLASS = 0.25, 256.0, 4


@dataclass(frozen=True)
class Case:
    """`num_classes` None: pair-wise labels, four samples a class; else class-level."""

    batch: int
    dim: int = 512
    num_classes: int | None = None

    @property
    def name(self) -> str:
        if self.num_classes is None:
            return f"pair B={self.batch} D={self.dim}"
        return f"class B={self.batch} D={self.dim} C={self.num_classes}"

    @property
    def matrix_mib(self) -> float:
        return self.batch * (self.num_classes or self.batch) * 4 / 2**20


class Data:
    """The operands of a case; `y` None for pair-wise labels."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.x = torch.randn(case.batch, case.dim, requires_grad=True)
        self.y = None
        if case.num_classes is None:
            self.labels = torch.randperm(case.batch) // PER_CLASS
        else:
            self.y = torch.randn(case.num_classes, case.dim, requires_grad=True)
            self.labels = torch.randint(0, case.num_classes, (case.batch,))

    def step(self, loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            loss().backward()
            self.x.grad = None
            if self.y is not None:
                self.y.grad = None

        return run


def circlet(data: Data) -> Callable[[], None]:
    """What users call."""
    return data.step(lambda: functional.circle_loss(data.x, data.labels, data.y, margin=MARGIN, gamma=GAMMA))


def _dense_loss(x: Tensor, y: Tensor | None, labels: Tensor) -> Tensor:
    pairs = Pairs(x, y, labels, None if y is None else torch.arange(len(y)))
    lse = dense.pair_lse(pairs, Circle(MARGIN, GAMMA), normalize=True)
    return aggregate.reduce(aggregate.softplus(lse.pos, lse.neg), lse.valid, "mean")


def dense_twin(data: Data) -> Callable[[], None]:
    """The readable form: the whole matrix, by autograd."""
    return data.step(lambda: _dense_loss(data.x, data.y, data.labels))


def compiled_dense_twin(data: Data) -> Callable[[], None]:
    """The same through torch.compile."""
    compiled = torch.compile(_dense_loss)
    return data.step(lambda: compiled(data.x, data.y, data.labels))


def three_products(data: Data) -> Callable[[], None]:
    """The floor of the naive form: S = X Y^T, then S Y and S^T X, and nothing else."""
    x = data.x.detach()
    y = x if data.y is None else data.y.detach()

    def run() -> None:
        s = x @ y.T
        _ = s @ y, s.T @ x

    return run


def pytorch_metric_learning(data: Data) -> Callable[[], None]:
    """CircleLoss of the package of that name (pair-wise only)."""
    from pytorch_metric_learning.losses import CircleLoss  # type: ignore[import-not-found]

    assert data.y is None
    loss = CircleLoss(m=MARGIN, gamma=GAMMA)
    return data.step(lambda: loss(data.x, data.labels))


def linear_cross_entropy(data: Data) -> Callable[[], None]:
    """Torch's fused linear layer and *plain* cross-entropy: another, simpler loss, without normalisation or margins."""
    y = data.y
    assert y is not None
    return data.step(lambda: torch.nn.functional.linear_cross_entropy(data.x, y, data.labels))


def contenders(case: Case, memory_limit_mib: float) -> dict[str, Callable[[Data], Callable[[], None]] | str]:
    """Builders by name, or why there is none. A naive form takes about ten matrices, PML about seventeen."""
    pairwise = case.num_classes is None
    found: dict[str, Callable[[Data], Callable[[], None]] | str] = {"circlet": circlet}

    def offer(name: str, builder: Callable[[Data], Callable[[], None]], matrices: float) -> None:
        needs = matrices * case.matrix_mib
        found[name] = builder if needs <= memory_limit_mib else f"needs about {needs / 1024:.0f} GiB"

    offer("three bare matrix products", three_products, 2)
    offer("dense twin", dense_twin, 10)
    if pairwise:
        offer("pytorch-metric-learning", pytorch_metric_learning, 17)
    elif hasattr(torch.nn.functional, "linear_cross_entropy"):
        offer("F.linear_cross_entropy (plain CE)", linear_cross_entropy, 4)
    offer("torch.compile of the dense twin", compiled_dense_twin, 10)
    return found
