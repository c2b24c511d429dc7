"""Open-set identification: who is it, or nobody known? Known probes should find their class, unknown ones nothing.

FPIR, FNIR, the DET curve (ISO/IEC 19795-1; NIST FRTE 1:N), AUROC, and BAKS and BAUS of wildlife re-identification. How
sure they are is in `open_set_intervals`, thresholds for use in `thresholds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.evaluate.accepting import curve_counts, lowest_threshold, num_allowed
from circlet.evaluate.checks import check_fractions, checked_embeddings, checked_labels, unit_pair, unit_rows
from circlet.evaluate.class_scores import ClassScores, class_scores
from circlet.evaluate.retrieval import count_of

__all__ = [
    "OpenSetMetrics",
    "OpenSetScores",
    "OperatingPoint",
    "leave_one_class_out",
    "open_set",
    "open_set_metrics",
]

CURVE_POINTS = 100


class OperatingPoint(NamedTuple):
    """What a threshold gives: rates are fractions in [0, 1]; fnir by rank."""

    threshold: float
    fpir: float
    fnir: dict[int, float]
    baks: float
    baus: float


@dataclass(frozen=True, eq=False)
class OpenSetScores:
    """What every probe scored, on the CPU; similarities are float64.

    known_own, known_rank, known_best: (k,) of probes whose class is enrolled: its score, its place among the classes
    (from 1), and the score of the best class. unknown_best: (u,) of probes whose class is not, the score of the best.
    known_class, unknown_class: (k,), (u,) int64, of each probe. gallery_classes, gallery_images: how many are enrolled;
    where they differ from probe to probe, the mean over the unknown ones, rounded down.
    """

    known_own: Tensor
    known_rank: Tensor
    known_best: Tensor
    known_class: Tensor
    unknown_best: Tensor
    unknown_class: Tensor
    gallery_classes: int
    gallery_images: int

    def at(self, threshold: float, ranks: Sequence[int] = (1,)) -> OperatingPoint:
        """What this threshold gives; it is not rounded to the precision of the similarities."""
        accepted, let_in = self.known_own >= threshold, self.unknown_best >= threshold
        return OperatingPoint(
            threshold=float(threshold),
            fpir=let_in.double().mean().item(),
            fnir={int(R): 1 - (accepted & (self.known_rank <= R)).double().mean().item() for R in ranks},
            baks=class_means(accepted & (self.known_rank == 1), self.known_class).mean().item(),
            baus=class_means(~let_in, self.unknown_class).mean().item(),
        )

    def threshold_at(self, fpir: float) -> float:
        """The lowest threshold whose FPIR is no more than that."""
        impostors = self.unknown_best.sort(descending=True).values
        return lowest_threshold(impostors, num_allowed(fpir, len(impostors))).threshold


@dataclass(frozen=True)
class OpenSetMetrics:
    """What `open_set` found.

    auroc: how often a known probe scores higher than an unknown one, ties by half. at_fpir: {FPIR asked for: the point
    at the lowest threshold that keeps it}. at_threshold: {threshold: its point}. det: (threshold, FPIR, FNIR at rank 1)
    by falling threshold, about 100 points. num_known, num_unknown: probes. gallery_classes, gallery_images: enrolled.
    """

    auroc: float
    at_fpir: dict[float, OperatingPoint]
    at_threshold: dict[float, OperatingPoint]
    det: tuple[tuple[float, float, float], ...]
    num_known: int
    num_unknown: int
    gallery_classes: int
    gallery_images: int


@torch.no_grad()
def open_set(
    probes: Tensor,
    probe_labels: Tensor | Sequence[int],
    gallery: Tensor,
    gallery_labels: Tensor | Sequence[int],
    *,
    thresholds: Sequence[float] | None = None,
    ranks: Sequence[int] = (1, 5),
    fpirs: Sequence[float] = (0.1, 0.01),
    block_size: int = 2048,
) -> OpenSetMetrics:
    r"""FPIR, FNIR, DET, AUROC, BAKS and BAUS of probes, some of whose classes are enrolled in a gallery.

    >>> gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> probes = torch.tensor([[0.9, 0.1], [0.2, 0.9], [0.8, 0.7], [0.7, 0.8]])
    >>> metrics = open_set(probes, [0, 1, 1, 7], gallery, [0, 1], fpirs=(0.5,), thresholds=(0.9,), ranks=(1, 2))
    >>> metrics.at_threshold[0.9].fpir, {R: round(x, 3) for R, x in metrics.at_threshold[0.9].fnir.items()}
    (0.0, {1: 0.333, 2: 0.333})
    >>> round(metrics.auroc, 3)
    0.833

    A class scores what the most similar of its enrolled images does. A probe is known (mated) if its class is enrolled:

        FPIR(t)     share of the unknown probes with any class at t or above
        FNIR(t, R)  share of the known probes whose own class is not among the R best classes at t or above
        DET         FNIR(t, 1) against FPIR(t)
        BAKS(t)     mean over known classes of the share of probes that get their class: it is the best, at t or above
        BAUS(t)     mean over unknown classes of the share of probes that get none

    (NIST FRTE 1:N, after ISO/IEC 19795-1; `wildlife_datasets.metrics.BAKS` and `BAUS` for predictions "new" below t.)
    FPIR grows with the number of enrolled classes, about as 1 - (1 - FMR)^N: say for how many it was found.

    probes, gallery: (n, dim), (m, dim), any float dtype, on one device; normalised inside, in float32 (float64 for it).
    probe_labels, gallery_labels: (n,), (m,) integers, equal where the classes are.
    thresholds: cosine similarities at which to look; a point each. fpirs: in (0, 1]. ranks: the R, 1 or more.
    block_size: decides memory and speed, not the result.

    Raises ValueError: a wrong shape, dtype or device, an embedding that is not finite, no known or no unknown probe.

    Degenerate input: classes that tie with a probe's own class rank before it, so what cannot be told apart is missed.
    A zero vector has similarity 0 with everything.
    """
    labels = checked_labels("probe_labels", probe_labels, checked_embeddings("probes", probes))
    enrolled = checked_labels("gallery_labels", gallery_labels, checked_embeddings("gallery", gallery))
    _check(ranks, fpirs, thresholds, block_size)
    rows, items = unit_pair("probes", probes, "gallery", gallery)
    known = torch.isin(labels, enrolled)
    num_classes, num_known = len(enrolled.unique()), int(known.sum())
    if num_known == 0 or num_known == len(known):
        kind, where = ("known", "in") if num_known == 0 else ("unknown", "not in")
        raise ValueError(f"probe_labels: found no {kind} probe among {len(known)}, expected at least one whose class "
                         f"is {where} gallery_labels")  # fmt: skip
    found = class_scores(rows, labels, items, enrolled, block_size=block_size)
    scores = _split(found, labels.cpu(), known.cpu(), ~known.cpu(), num_classes, len(enrolled))
    return open_set_metrics(scores, thresholds=thresholds, ranks=ranks, fpirs=fpirs)


@torch.no_grad()
def leave_one_class_out(
    embeddings: Tensor,
    labels: Tensor | Sequence[int],
    *,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | Sequence[int] | None = None,
    groups: Tensor | Sequence[int] | None = None,
    gallery_groups: Tensor | Sequence[int] | None = None,
    block_size: int = 2048,
) -> OpenSetScores:
    """Every image asked twice of one set of classes: with all of them enrolled, and with all but its own.

    >>> rows = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> scores = leave_one_class_out(rows, [0, 0, 1, 1])
    >>> [round(x, 2) for x in scores.known_own.tolist()], [round(x, 2) for x in scores.unknown_best.tolist()]
    ([0.8, 0.8, 0.8, 0.8], [0.6, 0.96, 0.6, 0.96])

    Known: its class is enrolled by all other images of it. Unknown: its class is left out of the gallery. So each image
    and each class counts in both roles, no lot decides which half is known, and of C classes C - 1 are enrolled for
    unknown probes. An image that is alone in its class is an unknown probe only.

    gallery: (m, dim) of enrolled images, which then are searched in place of the other probes. groups, gallery_groups:
    (n,), (m,) integers: a probe passes over the images of its own group. The rest as in `open_set`.

    Raises ValueError: as `open_set`; no probe with another image of its class to find; a single class.
    """
    own = checked_labels("labels", labels, checked_embeddings("embeddings", embeddings))
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("gallery and gallery_labels: found one without the other, expected both or neither")
    if (gallery_groups is None) != (gallery is None or groups is None):
        raise ValueError("gallery_groups: found without a gallery and groups, or none with both, expected all three")
    if gallery is None or gallery_labels is None:
        rows, items, enrolled = unit_rows(embeddings), None, own
    else:
        enrolled = checked_labels("gallery_labels", gallery_labels, checked_embeddings("gallery", gallery))
        rows, items = unit_pair("embeddings", embeddings, "gallery", gallery)
    _check((), (), None, block_size)
    own_groups = None if groups is None else checked_labels("groups", groups, rows)
    item_groups = own_groups
    if items is not None and gallery_groups is not None:
        item_groups = checked_labels("gallery_groups", gallery_groups, items)
    of_groups = {"groups": own_groups, "gallery_groups": item_groups}
    found = class_scores(rows, own, items, enrolled, **of_groups, block_size=block_size)
    known, unknown = found.own.isfinite(), found.other.isfinite()
    if not known.any():
        raise ValueError(f"labels: found {len(own)} images without another of their class to find, expected some with")
    if not unknown.any():
        raise ValueError("labels: found 1 class, expected at least 2: images of one are unknown to the others")
    sizes = count_of(own, enrolled).cpu()[unknown]
    others = len(enrolled.unique()) - (sizes > 0).double().mean().item()
    return _split(found, own.cpu(), known, unknown, int(others), int(len(enrolled) - sizes.double().mean().item()))


def open_set_metrics(
    scores: OpenSetScores,
    *,
    thresholds: Sequence[float] | None = None,
    ranks: Sequence[int] = (1, 5),
    fpirs: Sequence[float] = (0.1, 0.01),
) -> OpenSetMetrics:
    """The figures of `open_set` from scores that are there, such as those of `leave_one_class_out`."""
    _check(ranks, fpirs, thresholds, 1)
    return OpenSetMetrics(
        auroc=auroc(scores.known_best, scores.unknown_best),
        at_fpir={float(rate): scores.at(scores.threshold_at(rate), ranks) for rate in fpirs},
        at_threshold={float(t): scores.at(float(t), ranks) for t in thresholds or ()},
        det=det_curve(scores),
        num_known=len(scores.known_own),
        num_unknown=len(scores.unknown_best),
        gallery_classes=scores.gallery_classes,
        gallery_images=scores.gallery_images,
    )


def det_curve(scores: OpenSetScores, points: int = CURVE_POINTS) -> tuple[tuple[float, float, float], ...]:
    """(threshold, FPIR, FNIR at rank 1) where 0, 1, 2, ... unknown probes are let in, by factors further on."""
    impostors = scores.unknown_best.sort(descending=True).values
    hits = scores.known_own[scores.known_rank == 1].sort().values
    curve: dict[int, tuple[float, float, float]] = {}
    for count in curve_counts(len(impostors), points):
        threshold, accepted = lowest_threshold(impostors, count)
        found = len(hits) - int(torch.searchsorted(hits, threshold))
        curve[accepted] = (threshold, accepted / len(impostors), 1 - found / len(scores.known_own))
    return tuple(curve.values())


def auroc(higher: Tensor, lower: Tensor) -> float:
    """How often one of `higher` (k,) is above one of `lower` (u,), ties by half.

    >>> auroc(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1]))
    0.875
    """
    below = lower.sort().values
    wins = torch.searchsorted(below, higher).double() + torch.searchsorted(below, higher, right=True).double()
    return float(wins.mean() / (2 * len(below)))


def class_means(values: Tensor, labels: Tensor) -> Tensor:
    """(classes,) float64: the mean of the values (n,) of each class."""
    _, index, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, index, values.double())
    return sums.div_(counts)


def _split(
    found: ClassScores, labels: Tensor, known: Tensor, unknown: Tensor, gallery_classes: int, gallery_images: int
) -> OpenSetScores:
    return OpenSetScores(
        known_own=found.own[known],
        known_rank=found.rank[known],
        known_best=torch.maximum(found.own, found.other)[known],
        known_class=labels[known],
        unknown_best=found.other[unknown],
        unknown_class=labels[unknown],
        gallery_classes=gallery_classes,
        gallery_images=gallery_images,
    )


def _check(ranks: Sequence[int], fpirs: Sequence[float], thresholds: Sequence[float] | None, block_size: int) -> None:
    check_fractions("fpirs", fpirs)
    for R in ranks:
        if int(R) != R or R < 1:
            raise ValueError(f"ranks: found {R}, expected integers of 1 or more")
    for threshold in thresholds or ():
        if threshold != threshold:
            raise ValueError("thresholds: found nan, expected numbers")
    if block_size < 1:
        raise ValueError(f"block_size: found {block_size}, expected at least 1")
