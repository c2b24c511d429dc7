"""Public implementations of Circle loss against Eq. 6 of the paper: value, gradient, and what happens at the edges.

    python -m benchmarks.audit --peers PEERS

PEERS holds checkouts of public repositories, as PEERS/OWNER/NAME (benchmarks/README.md has the commands); what is not
there is left out. pytorch-metric-learning is that which is installed. `audit_peers.py` says how each is called.

The oracle is Eq. 6 for each anchor, written out below in fp64 with its weights detached as Eq. 9 and 10 need, averaged
over the anchors that have a positive and a negative. Writes results/audit.{md,json}; no clock matters.
"""

import argparse
import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import circlet
from benchmarks.audit_peers import MARGIN, implementations
from circlet.environment import machine
from circlet.files import write_text

RESULTS = Path(__file__).parent / "results"
GAMMA = 64.0


def eq_6(
    x: Tensor, labels: Tensor, weights: Tensor | None = None, *, detached: bool = True, own: bool = False
) -> Tensor:
    """Eq. 6 of each valid anchor, and the mean; detached=False and own are two mistakes on purpose."""
    x = nn.functional.normalize(x)
    s = x @ (x if weights is None else nn.functional.normalize(weights)).T
    classes = labels if weights is None else torch.arange(len(weights))
    same = labels[:, None] == classes
    positive = same if own or weights is not None else same & ~torch.eye(len(x), dtype=torch.bool)
    valid = positive.any(1) & (~same).any(1)
    at = s.detach() if detached else s
    p = -GAMMA_NOW[0] * (1 + MARGIN - at).relu() * (s - (1 - MARGIN))
    n = GAMMA_NOW[0] * (at + MARGIN).relu() * (s - MARGIN)
    lse = p.masked_fill(~positive, -math.inf)[valid].logsumexp(1) + n.masked_fill(same, -math.inf)[valid].logsumexp(1)
    return torch.logaddexp(lse, torch.zeros_like(lse)).mean() if bool(valid.any()) else 0 * x.sum()


HEAD = [
    "implementation", "source", "value / Eq. 6", "gradient cosine", "late in training", "gradient norm / Eq. 6",
    "rows x 3",
]  # fmt: skip
GAMMA_NOW = [GAMMA]  # the scale that eq_6 and the peers are made for


@dataclass(frozen=True)
class Finding:
    """What one implementation does. Ratios and cosines are to Eq. 6; None where it gives no number."""

    name: str
    source: str
    level: str
    value_ratio: float | None
    gradient_cosine: float | None
    late_gradient_cosine: float | None
    gradient_norm_ratio: float | None
    undetached_cosine: float | None
    scaled_rows: float | None
    lone_anchors: float | None
    no_positives: str
    no_positives_half: str
    no_negatives: str
    large_gamma: str
    half: str


def batch(stage: float, classes: int = 16, each: int = 5, dim: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows in fp64, labels, class weights; the larger the stage the further apart the classes are."""
    draw = {"generator": torch.Generator().manual_seed(1), "dtype": torch.float64}
    labels = torch.arange(classes).repeat_interleave(each)
    centres = torch.randn(classes, dim, **draw)
    x = nn.functional.normalize(stage * centres[labels] + torch.randn(len(labels), dim, **draw))
    return x, labels, nn.functional.normalize(centres + 0.5 * torch.randn(classes, dim, **draw))


def gradient(loss: Any, x: Tensor, *others: Tensor) -> tuple[float, Tensor]:
    """Value, and the gradient of the embeddings."""
    leaf = x.clone().requires_grad_()
    value = loss(leaf, *others)
    if value.requires_grad:
        value.backward()
    found = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
    return float(value.detach()), found


def tangent(g: Tensor, x: Tensor) -> Tensor:
    """The part of a gradient that turns the rows; some normalise them outside, and pull at their length."""
    x = nn.functional.normalize(x.double())
    g = g.double()
    return g - (g * x).sum(1, keepdim=True) * x


def cosine(a: Tensor, b: Tensor) -> float | None:
    """Of two gradients; None where one is zero or no number."""
    found = float(nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))
    return found if math.isfinite(found) and float(a.norm()) and float(b.norm()) else None


def told(loss: Any, *arguments: Tensor) -> str:
    """The value of the loss at an edge, with what its gradient is if it is no number."""
    try:
        value, found = gradient(loss, *arguments)
    except (RuntimeError, ValueError, IndexError) as error:
        return f"error: {str(error).splitlines()[0][:60]}"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4g}" + ("" if bool(found.isfinite().all()) else ", gradient nan")


def audited(name: str, source: str, level: str, make: Callable[[float], Any]) -> Finding:
    """All questions to one implementation; make(gamma) gives its loss."""
    GAMMA_NOW[0] = GAMMA
    loss = make(GAMMA)
    x, labels, weights = batch(0.4)
    rest = (labels,) if level == "pair" else (labels, weights)
    expected = gradient(eq_6, x, *rest)
    value, g = gradient(loss, x, *rest)
    undetached = gradient(lambda *arguments: eq_6(*arguments, detached=False), x, *rest)[1]
    far, _, far_weights = batch(1.0)
    late_rest = (labels,) if level == "pair" else (labels, far_weights)
    late = cosine(tangent(gradient(loss, far, *late_rest)[1], far), tangent(gradient(eq_6, far, *late_rest)[1], far))
    g, e = tangent(g, x), tangent(expected[1], x)
    scaled = gradient(loss, 3 * x, *rest)[0] / value if value else None
    lone = None
    if level == "pair":  # 20 more anchors of 20 other classes: no positives, hence no loss of their own
        more, _, _ = batch(0.4, classes=20, each=1)
        both, marks = torch.cat([x, more]), torch.cat([labels, 100 + torch.arange(20)])
        lone = gradient(loss, both, marks)[0] / gradient(eq_6, both, marks)[0]
    single, one = torch.arange(len(x)), torch.zeros_like(labels)
    edges = [(single,), (one,)] if level == "pair" else [None, (one, weights[:1])]
    empty_half = told(loss, x.half(), single) if level == "pair" else ""
    with scale(256.0):
        large = told(make(256.0), x.float(), *(each.float() if each.is_floating_point() else each for each in rest))
        half = told(make(256.0), x.half(), *(each.half() if each.is_floating_point() else each for each in rest))
    return Finding(
        name, source, level, ratio(value, expected[0]), cosine(g, e), late,
        ratio(float(g.norm()), float(e.norm())), cosine(g, tangent(undetached, x)), scaled, lone,
        *_edges(loss, x, edges, empty_half), large, half,
    )  # fmt: skip


def _edges(loss: Any, x: Tensor, edges: list[Any], empty_half: str) -> tuple[str, str, str]:
    first, last = ("" if edge is None else told(loss, x, *edge) for edge in edges)
    return first, empty_half, last


def ratio(found: float, expected: float) -> float | None:
    """None where there is no number."""
    return found / expected if math.isfinite(found) else None


@contextlib.contextmanager
def scale(gamma: float) -> Iterator[None]:
    """Eq. 6 with another gamma."""
    before, GAMMA_NOW[0] = GAMMA_NOW[0], gamma
    try:
        yield
    finally:
        GAMMA_NOW[0] = before


def own() -> Iterator[tuple[str, str, str, Callable[[float], Any]]]:
    """Ours, and Eq. 6 with two common mistakes, one at a time."""
    for level in ("pair", "class"):
        ours = f"circlet {circlet.__version__}"
        yield "circlet `CircleLoss`", ours, level, lambda g: circlet.CircleLoss(margin=MARGIN, gamma=g)
    mistakes = {"weights not detached": {"detached": False}, "itself among its positives": {"own": True}}
    for what, mistake in mistakes.items():
        yield f"Eq. 6, {what}", "a mistake on purpose", "pair", lambda g, m=mistake: lambda x, y: eq_6(x, y, **m)


def markdown(found: list[Finding]) -> str:
    """Two tables, and how they were made."""
    parts = []
    for level, heading in (
        ("pair", "Pair-wise: the other samples of the batch"),
        ("class", "Class-level: class weights"),
    ):
        of_pairs = ["with 20 lone anchors", "no positives", "no positives, fp16"] if level == "pair" else []
        head = [*HEAD, *of_pairs, "one class", "gamma 256, fp32", "gamma 256, fp16"]
        lines = [head, ["---"] * len(head)]
        for each in found:
            if each.level != level:
                continue
            edges = [number(each.lone_anchors), each.no_positives, each.no_positives_half] if level == "pair" else []
            lines.append([
                each.name, each.source, number(each.value_ratio), number(each.gradient_cosine),
                number(each.late_gradient_cosine), number(each.gradient_norm_ratio), number(each.scaled_rows), *edges,
                each.no_negatives, each.large_gamma, each.half,
            ])  # fmt: skip
        parts.append(f"### {heading}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    about = ", ".join(f"{name} {value}" for name, value in machine("torch", "circlet").items())
    return (
        "\n".join(parts)
        + f"\n16 classes x 5 samples, 32-D, unit rows, fp64, margin {MARGIN:g}, gamma {GAMMA:g} unless it says "
        f"otherwise; class weights near their classes. {about}; `python -m benchmarks.audit --peers PEERS`.\n"
    )


def number(value: float | None) -> str:
    """Four decimals; nothing where there is no number."""
    return "no number" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"


def main() -> None:
    """Ask all, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    peers = parser.parse_args().peers
    torch.set_num_threads(1)
    found = [audited(*each) for each in (*own(), *implementations(peers))]
    write_text(RESULTS / "audit.json", json.dumps([asdict(each) for each in found], indent=2) + "\n")
    write_text(RESULTS / "audit.md", markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
