"""Contenders: one training step of each loss to compare, on the same operands.

A builder takes the operands and gives a function without arguments. Other packages are imported only when asked for,
and left out, with the reason, where they are not installed.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from circlet import aggregate, functional
from circlet.bench.cases import Case, Data
from circlet.rules import Circle
from circlet.similarity import dense, native
from circlet.similarity.pairs import Pairs

MARGIN, GAMMA = 0.25, 256.0
FLOOR = "three bare matrix products"
IN_TORCH = "circlet, CIRCLET_NATIVE=0"
BF16_PRODUCTS = 'circlet, set_float32_matmul_precision("medium")'
COMPILED = "torch.compile of the dense twin"

Step = Callable[[], None]
Builder = Callable[[Data], Step]


def contenders(case: Case, memory_limit_mib: float) -> dict[str, Builder | str]:
    """Builders by name, or why there is none: not installed, or more than `memory_limit_mib` needed.

    Needs as measured: a naive form takes about ten similarity matrices, pytorch-metric-learning seventeen.
    """
    pairwise = case.num_classes is None
    found: dict[str, Builder | str] = {"circlet": circlet}
    if case.device == "cpu" and native.native(torch.float32, torch.device("cpu")) is not None:
        found[IN_TORCH] = circlet_in_torch
    if (case.dtype, case.device) == ("bf16", "cpu"):
        found[BF16_PRODUCTS] = circlet_with_bf16_products

    def offer(name: str, builder: Builder, matrices: float) -> None:
        needs = matrices * case.matrix_mib
        found[name] = builder if needs <= memory_limit_mib else f"needs about {needs / 1024:.0f} GiB"

    offer(FLOOR, three_products, 2)
    offer("dense twin", dense_twin, 10)
    if pairwise and find_spec("pytorch_metric_learning") is None:
        found["pytorch-metric-learning"] = "not installed"
    elif pairwise:
        offer("pytorch-metric-learning", pytorch_metric_learning, 17)
    elif hasattr(torch.nn.functional, "linear_cross_entropy"):
        offer("F.linear_cross_entropy (plain CE)", linear_cross_entropy, 4)
    offer(COMPILED, compiled_dense_twin, 10)
    return found


def circlet(data: Data) -> Step:
    """What users call."""
    return data.step(lambda: functional.circle_loss(data.x, data.labels, data.y, margin=MARGIN, gamma=GAMMA))


def circlet_in_torch(data: Data) -> Step:
    """The same by torch's own operations, as where there is no C compiler."""
    step = circlet(data)

    def run() -> None:
        native.USE_NATIVE = False
        try:
            step()
        finally:
            native.USE_NATIVE = True

    return run


def circlet_with_bf16_products(data: Data) -> Step:
    """The same where the user lets torch multiply in bf16, which some processors do faster; sums stay in fp32."""
    step = circlet(data)

    def run() -> None:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            step()
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def dense_twin(data: Data) -> Step:
    """The readable form: the whole matrix, by autograd."""
    return data.step(lambda: _dense_loss(data.x, data.y, data.labels))


def compiled_dense_twin(data: Data) -> Step:
    """The same through torch.compile (on a CPU it needs a C++ compiler)."""
    compiled = torch.compile(_dense_loss)
    return data.step(lambda: compiled(data.x, data.y, data.labels))


def three_products(data: Data) -> Step:
    """The floor of the naive form: S = X Y^T, then S Y and S^T X, and nothing else."""
    x = data.x.detach()
    y = x if data.y is None else data.y.detach()

    def run() -> None:
        s = x @ y.T
        _ = s @ y, s.T @ x

    return run


def pytorch_metric_learning(data: Data) -> Step:
    """CircleLoss of the package of that name (pair-wise only)."""
    from pytorch_metric_learning.losses import CircleLoss

    loss = CircleLoss(m=MARGIN, gamma=GAMMA)
    return data.step(lambda: loss(data.x, data.labels))


def linear_cross_entropy(data: Data) -> Step:
    """Torch's fused linear layer and *plain* cross-entropy: another, simpler loss, without normalisation or margins."""
    y = data.y
    assert y is not None
    return data.step(lambda: torch.nn.functional.linear_cross_entropy(data.x, y, data.labels))


def _dense_loss(x: Tensor, y: Tensor | None, labels: Tensor) -> Tensor:
    pairs = Pairs(x, y, labels, None if y is None else torch.arange(len(y), device=y.device))
    lse = dense.pair_lse(pairs, Circle(MARGIN, GAMMA), normalize=True)
    return aggregate.reduce(aggregate.softplus(lse.pos, lse.neg), lse.valid, "mean")
