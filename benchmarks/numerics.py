"""Numerics: how far the loss and its gradient are from fp64, by dtype, gamma and stage of training.

    python -m benchmarks.numerics

300 embeddings of 75 classes, 96-D, as they are at the start of a training, in the middle and at its end; pair-wise and
class-level. "bf16 products": bf16 rows under torch.set_float32_matmul_precision("medium"), by which a processor that
multiplies bf16 (AMX) does so in all products of fp32 numbers; elsewhere that row is the one of bf16.

The operands are rounded to the dtype first, so that what is measured is the computation, not the rounding of its input.
Naive: Eq. 6 written out in the dtype itself, similarities stored in it, which is what most
public code does under autocast or `.half()`. Writes results/numerics.{md,csv}; takes seconds, and no clock matters.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import circlet
from circlet.environment import machine
from circlet.files import write_text

RESULTS = Path(__file__).parent / "results"
STAGES = {"alike (0)": 0.0, "start (0.5)": 0.5, "middle (2)": 2.0, "end (8)": 8.0}
BF16_PRODUCTS = "bf16 products"
GAMMAS = (16.0, 64.0, 256.0, 1024.0)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, BF16_PRODUCTS: torch.bfloat16}
MARGIN = 0.25


@dataclass(frozen=True)
class Error:
    """One row: relative errors against fp64; nan where the naive form gives no number."""

    form: str
    dtype: str
    gamma: float
    stage: str
    loss: float
    gradient: float
    naive_loss: float
    naive_gradient: float


def embeddings(stage: float, num_classes: int = 75, per_class: int = 4, dim: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, class weights and labels in fp64: scattered and alike at stage 0, far apart by class at 8."""
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    centres = torch.linalg.qr(torch.randn(dim, num_classes, **draw)).Q.T
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    noise = torch.nn.functional.normalize(torch.randn(len(labels), dim, **draw))
    together = torch.nn.functional.normalize(torch.randn(1, dim, **draw)) * max(0.0, 2.0 - 2.0 * stage)
    signs = torch.where(torch.arange(len(labels)) % 2 == 0, 1.0, -1.0)[:, None]
    return centres[labels] * stage + noise + together * signs, centres, labels


def naive(x: Tensor, labels: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Eq. 6, averaged over the anchors, in the dtype of `x` throughout."""
    x = torch.nn.functional.normalize(x)
    y = x if weights is None else torch.nn.functional.normalize(weights)
    s = x @ y.T
    positive = labels[:, None] == (labels if weights is None else torch.arange(len(y)))
    negative = ~positive
    if weights is None:
        positive = positive & ~torch.eye(len(x), dtype=torch.bool)
    alpha_p, alpha_n = (1 + MARGIN - s.detach()).relu(), (s.detach() + MARGIN).relu()
    logits_p, logits_n = -gamma * alpha_p * (s - (1 - MARGIN)), gamma * alpha_n * (s - MARGIN)
    low = torch.finfo(s.dtype).min
    lse = logits_p.masked_fill(~positive, low).logsumexp(1) + logits_n.masked_fill(~negative, low).logsumexp(1)
    return torch.nn.functional.softplus(lse).mean()


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over that of what was expected."""
    scale = expected.norm().clamp(min=torch.finfo(torch.float64).tiny)
    return float((found.double() - expected).norm() / scale)


def measured(form: str, dtype: str, gamma: float, stage: str) -> Error:
    """Both ways against fp64 on the same, rounded operands."""
    x, weights, labels = embeddings(STAGES[stage])
    operands = [x.to(DTYPES[dtype])] + ([weights.to(DTYPES[dtype])] if form == "class" else [])
    loss = circlet.CircleLoss(margin=MARGIN, gamma=gamma)
    ways = {
        "exact": lambda x, *w: naive(x, labels, *(w or (None,)), gamma),
        "ours": lambda x, *w: loss(x, labels, *w),
        "naive": lambda x, *w: naive(x, labels, *(w or (None,)), gamma),
    }
    found = {}
    for way, compute in ways.items():
        leaves = [each.double() if way == "exact" else each for each in operands]
        leaves = [each.clone().requires_grad_() for each in leaves]
        torch.set_float32_matmul_precision("medium" if (way, dtype) == ("ours", BF16_PRODUCTS) else "highest")
        value = compute(*leaves)
        value.backward()
        found[way] = value.detach(), torch.cat([leaf.grad.double().flatten() for leaf in leaves])
    errors = [relative(found[way][part], found["exact"][part]) for way in ("ours", "naive") for part in (0, 1)]
    return Error(form, dtype, gamma, stage, *errors)


def table(rows: list[Error], form: str) -> str:
    """Markdown: a line for dtype and gamma, a column for each stage; error of the gradient, ours | naive."""
    lines = [["dtype", "gamma", *(f"{stage}: circlet" for stage in STAGES), *(f"{stage}: naive" for stage in STAGES)]]
    lines.append(["---"] * len(lines[0]))
    for dtype in DTYPES:
        for gamma in GAMMAS:
            chosen = [row for row in rows if (row.form, row.dtype, row.gamma) == (form, dtype, gamma)]
            ours, theirs = ([shown(getattr(row, name)) for row in chosen] for name in ("gradient", "naive_gradient"))
            lines.append([dtype, f"{gamma:g}", *ours, *theirs])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(error: float) -> str:
    """1.2e-07; `vanished` where all of the gradient is below the smallest number of the dtype that it is given in."""
    if not np.isfinite(error):
        return "not finite"
    return "vanished" if abs(error - 1) < 1e-6 else f"{error:.1e}"


def main() -> None:
    """Measure all, write both files."""
    torch.set_num_threads(1)
    rows = [
        measured(form, dtype, gamma, stage)
        for form in ("pair", "class") for dtype in DTYPES for gamma in GAMMAS for stage in STAGES
    ]  # fmt: skip
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(Error.__annotations__)
    writer.writerows([[f"{v:.3e}" if isinstance(v, float) and n != "gamma" else v for n, v in vars(row).items()]
                      for row in rows])  # fmt: skip
    write_text(RESULTS / "numerics.csv", buffer.getvalue())
    text = (
        "Relative error of the gradient against fp64 on the same operands, Circle loss, margin 0.25, pair-wise:\n\n"
        f"{table(rows, 'pair')}\nand class-level, of embeddings and class weights together:\n\n{table(rows, 'class')}\n"
        f"{', '.join(f'{name} {value}' for name, value in machine('torch', 'circlet').items())}; "
        "`python -m benchmarks.numerics`. Errors of the loss itself are in numerics.csv.\n"
    )
    write_text(RESULTS / "numerics.md", text)
    print(text)


if __name__ == "__main__":
    main()
