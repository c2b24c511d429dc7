"""Losses of pytorch-metric-learning beside ours: the same batch, the settings that make them one loss, what is left.

    python -m benchmarks.beside_pml

Three batches of 64 x 32 in fp64: 16 classes x 4 as they are early, the same classes well apart, and 12 x 4 with 16 lone
samples. Of each: their value over ours, and the cosine of the gradients of the embeddings. Where a value differs and
the gradient does not, the losses differ in what they average over. Writes results/beside_pml.{md,json}.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor, nn

import circlet
from circlet.environment import machine
from circlet.files import write_text

RESULTS = Path(__file__).parent / "results"
DIM, CLASSES = 32, 32
BATCHES = ("early", "apart", "with lone samples")


@dataclass(frozen=True)
class Beside:
    """One loss on the three batches, in the order of BATCHES."""

    theirs: str
    ours: str
    value_ratio: list[float | None]
    gradient_cosine: list[float | None]


def batches() -> list[tuple[Tensor, Tensor]]:
    """Embeddings and labels of each."""
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    centres, noise = torch.randn(CLASSES, DIM, **draw), torch.randn(64, DIM, **draw)
    whole = torch.arange(16).repeat_interleave(4)
    lone = torch.cat([torch.arange(12).repeat_interleave(4), torch.arange(16, 32)])
    return [
        (0.5 * centres[whole] + noise, whole),
        (1.5 * centres[whole] + noise, whole),
        (0.5 * centres[lone] + noise, lone),
    ]


def weights() -> Tensor:
    """Class weights, near their classes."""
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    return torch.randn(CLASSES, DIM, **draw) + 0.5 * torch.randn(CLASSES, DIM, **draw)


def held(loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Theirs with our class weights in place of its own."""
    for name, parameter in loss.named_parameters():
        parameter.data = {"W": weights().T.clone(), "proxies": weights()}[name]
    return loss


def mined(loss: Any, miner: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Theirs with a miner."""
    return lambda x, y: loss(x, y, miner(x, y))


def pairs() -> list[tuple[str, str, Any, Any]]:
    """(theirs, ours, their call, our call)."""
    w = weights()
    cosine = distances.CosineSimilarity
    by_class = lambda loss: lambda x, y: loss(x, y, w)  # noqa: E731
    return [
        ("CircleLoss()", "CircleLoss(margin=0.4, gamma=80)",
         losses.CircleLoss(), circlet.CircleLoss(margin=0.4, gamma=80.0)),
        ("CosFaceLoss(C, D)", "AMSoftmaxLoss(), class weights",
         held(losses.CosFaceLoss(CLASSES, DIM)), by_class(circlet.AMSoftmaxLoss())),
        ("ArcFaceLoss(C, D)", "ArcFaceLoss(margin=0.49916), class weights",
         held(losses.ArcFaceLoss(CLASSES, DIM)), by_class(circlet.ArcFaceLoss(margin=math.radians(28.6), gamma=64.0))),
        ("NormalizedSoftmaxLoss(C, D)", "NormFaceLoss(gamma=20), class weights",
         held(losses.NormalizedSoftmaxLoss(CLASSES, DIM)), by_class(circlet.NormFaceLoss(gamma=20.0))),
        ("ProxyAnchorLoss(C, D)", "ProxyAnchorLoss(), class weights",
         held(losses.ProxyAnchorLoss(CLASSES, DIM)), by_class(circlet.ProxyAnchorLoss())),
        ("TripletMarginLoss(0.3, cosine) + BatchHardMiner(cosine)", "TripletLoss(margin=0.3)",
         mined(losses.TripletMarginLoss(0.3, distance=cosine()), miners.BatchHardMiner(distance=cosine())),
         circlet.TripletLoss(margin=0.3)),
        ("MultiSimilarityLoss()", "MultiSimilarityLoss()", losses.MultiSimilarityLoss(), circlet.MultiSimilarityLoss()),
        ("NTXentLoss()", "NTXentLoss()", losses.NTXentLoss(), circlet.NTXentLoss()),
        ("SupConLoss()", "SupConLoss()", losses.SupConLoss(), circlet.SupConLoss()),
        ("ContrastiveLoss(1, 0.5, cosine)", "ContrastiveLoss()",
         losses.ContrastiveLoss(1.0, 0.5, distance=cosine()), circlet.ContrastiveLoss()),
        ("NCALoss(10, cosine)", "NCALoss(gamma=10)",
         losses.NCALoss(10.0, distance=cosine()), circlet.NCALoss(gamma=10.0)),
    ]  # fmt: skip


def gradient(loss: Any, x: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Value and gradient of the embeddings."""
    leaf = x.clone().requires_grad_()
    value = loss(leaf, labels)
    value.backward()
    return float(value.detach()), leaf.grad.flatten()  # type: ignore[union-attr]


def measured() -> list[Beside]:
    """Every pair on every batch."""
    rows = []
    for theirs, ours, their_loss, our_loss in pairs():
        ratios: list[float | None] = []
        cosines: list[float | None] = []
        for x, labels in batches():
            (a, g), (b, h) = gradient(their_loss, x, labels), gradient(our_loss, x, labels)
            ratios.append(a / b if b else None)
            cosines.append(float(nn.functional.cosine_similarity(g, h, dim=0)) if g.any() and h.any() else None)
        rows.append(Beside(theirs, ours, ratios, cosines))
    return rows


def metrics() -> list[tuple[str, str, float, float]]:
    """Metrics of both on the batch with lone samples."""
    x, labels = batches()[2]
    x = nn.functional.normalize(x).float()
    calculator = AccuracyCalculator(include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k=None)
    theirs = calculator.get_accuracy(x, labels)
    ours = circlet.evaluate.retrieval(x, labels, ks=(1,))
    return [
        ("precision_at_1", "recall_at_k[1]", theirs["precision_at_1"], ours.recall_at_k[1]),
        ("r_precision", "r_precision", theirs["r_precision"], ours.r_precision),
        ("mean_average_precision_at_r", "map_at_r", theirs["mean_average_precision_at_r"], ours.map_at_r),
    ]


def shown(value: float | None) -> str:
    """Four decimals."""
    return "both 0" if value is None else f"{value:.4f}"


def markdown(rows: list[Beside], found: list[tuple[str, str, float, float]]) -> str:
    """The tables, and how they were made."""
    head = ["pytorch-metric-learning", "circlet", *(f"value, {name}" for name in BATCHES),
            *(f"gradient cosine, {name}" for name in BATCHES)]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    lines += [
        [f"`{row.theirs}`", f"`{row.ours}`", *map(shown, row.value_ratio), *map(shown, row.gradient_cosine)]
        for row in rows
    ]
    second = [["metric there", "here", "theirs", "ours"], ["---"] * 4]
    second += [[f"`{a}`", f"`{b}`", shown(c), shown(d)] for a, b, c, d in found]
    first, other = ("".join(f"| {' | '.join(line)} |\n" for line in part) for part in (lines, second))
    about = ", ".join(
        f"{name} {value}" for name, value in machine("torch", "circlet", "pytorch-metric-learning").items()
    )
    return (
        f"Their value over ours, and the cosine of the gradients:\n\n{first}\nMetrics of 48 samples of 12 classes and "
        f"16 lone ones:\n\n{other}\n{about}; `python -m benchmarks.beside_pml`.\n"
    )


def main() -> None:
    """Measure, write both files."""
    torch.set_num_threads(1)
    rows, found = measured(), metrics()
    write_text(
        RESULTS / "beside_pml.json",
        json.dumps({"losses": [asdict(row) for row in rows], "metrics": found}, indent=2) + "\n",
    )
    write_text(RESULTS / "beside_pml.md", markdown(rows, found))
    print(markdown(rows, found))


if __name__ == "__main__":
    main()
