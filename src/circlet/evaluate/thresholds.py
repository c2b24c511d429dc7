"""Thresholds that keep a wanted rate of error, chosen on validation classes: never on those of training or test.

To identify: of images of unknown classes, the share FPIR is taken for one of those enrolled; it depends on how many
these are. To verify: of pairs of two classes, the share FAR is accepted as one. What a threshold is, and how it is kept
in a file, is in `threshold`; whether it keeps its promise on other classes is what `open_set` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circlet.evaluate.accepting import lowest_threshold, num_allowed
from circlet.evaluate.checks import check_fractions, checked_embeddings, checked_labels, unit_rows
from circlet.evaluate.open_set import OpenSetScores, det_curve, leave_one_class_out
from circlet.evaluate.open_set_intervals import open_set_intervals
from circlet.evaluate.pair_intervals import pair_intervals
from circlet.evaluate.pair_scores import PairScores, pair_scores
from circlet.evaluate.threshold import Threshold, Thresholds, for_gallery

__all__ = ["FARS", "FPIRS", "Threshold", "Thresholds", "choose_thresholds", "for_gallery"]

FPIRS, FARS = (0.1, 0.01), (1e-2, 1e-3, 1e-4)


@torch.no_grad()
def choose_thresholds(
    embeddings: Tensor,
    labels: Tensor | Sequence[int],
    *,
    fpirs: Sequence[float] = FPIRS,
    fars: Sequence[float] = FARS,
    folds: Tensor | Sequence[int] | None = None,
    groups: Tensor | Sequence[int] | None = None,
    gallery_classes: int | None = None,
    seed: int = 0,
) -> Thresholds:
    """The lowest thresholds that keep these rates, by validation classes each of which is once unknown to the others.

    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> labels = torch.arange(20).repeat_interleave(10)
    >>> rows = torch.randn(20, 32)[labels] + 0.4 * torch.randn(200, 32)
    >>> chosen = choose_thresholds(rows, labels, fpirs=(0.1,), fars=(0.01,))
    >>> chosen.identify[0].found, chosen.identify[0].gallery_classes, chosen.identify[0].missed
    (0.1, 19, 0.0)

    An image of an unknown class scores its highest similarity to any image of the others (`leave_one_class_out`). With
    C classes that is a gallery of C - 1. For more, N, the threshold is that of the FPIR r for which
    1 - (1 - r)^(N / (C - 1)) is the one wanted, an estimate (`Threshold.expected_rate`). For less
    it is that of C - 1.

    embeddings: (n, dim), any float dtype; normalised inside. labels: (n,) integers.
    fpirs, fars: rates, each in (0, 1].
    folds: (n,) integers, the part of each image, where parts were embedded differently, each by a model that has not
        seen it: images are compared within their part alone. A part of one class, or of lone images, is left out.
    groups: (n,) integers: an image passes over those of its own group, such as the same burst.
    gallery_classes: N, for how many enrolled classes; None: as many as there were.
    seed: of the intervals, and of the sample of images whose pairs are looked at (some 4,000).

    Raises ValueError: a wrong shape or dtype, an embedding that is not finite, a rate out of range, no part with two
        classes of which one has two images.
    """
    known = checked_labels("labels", labels, checked_embeddings("embeddings", embeddings))
    part_of = torch.zeros_like(known) if folds is None else checked_labels("folds", folds, embeddings)
    of_groups = None if groups is None else checked_labels("groups", groups, embeddings)
    check_fractions("fpirs", fpirs)
    check_fractions("fars", fars)
    if gallery_classes is not None and gallery_classes < 1:
        raise ValueError(f"gallery_classes: found {gallery_classes}, expected at least 1")
    parts, kept = [], torch.zeros_like(known, dtype=torch.bool)
    for part in part_of.unique():
        own = part_of == part
        counts = known[own].unique(return_counts=True)[1]
        if len(counts) < 2 or counts.max() < 2:
            continue
        try:
            parts.append(
                leave_one_class_out(embeddings[own], known[own], groups=None if of_groups is None else of_groups[own])
            )
        except ValueError:  # nothing to find outside of one's own group
            continue
        kept |= own
    if not parts:
        raise ValueError(f"labels: found {len(known.unique())} classes without another image to find, expected two in "
                         "one part at least, one of them with two images")  # fmt: skip
    scores = _joined(parts)
    pairs = pair_scores(
        unit_rows(embeddings[kept]),
        known[kept],
        part_of[kept],
        groups=None if of_groups is None else of_groups[kept],
        seed=seed,
    )
    classes = int(torch.stack([part_of[kept], known[kept]]).unique(dim=1).shape[1])
    number = scores.gallery_classes if gallery_classes is None else gallery_classes
    return Thresholds(
        identify=_identify(scores, fpirs, number, classes, seed),
        verify=_verify(pairs, fars, classes, seed),
        base=scores.gallery_classes,
        curve=det_curve(scores),
    )


def _joined(parts: Sequence[OpenSetScores]) -> OpenSetScores:
    """The probes of all parts; classes of different parts are different."""
    largest, known, unknown = 0, [], []
    for part in parts:
        known.append(part.known_class + largest)
        unknown.append(part.unknown_class + largest)
        largest = 1 + int(max(known[-1].max(), unknown[-1].max()))
    weights = [len(part.unknown_best) for part in parts]

    def whole(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    def mean(name: str) -> int:
        total = sum(getattr(part, name) * weight for part, weight in zip(parts, weights, strict=True))
        return int(total // sum(weights))

    return OpenSetScores(
        known_own=whole("known_own"),
        known_rank=whole("known_rank"),
        known_best=whole("known_best"),
        known_class=torch.cat(known),
        unknown_best=whole("unknown_best"),
        unknown_class=torch.cat(unknown),
        gallery_classes=mean("gallery_classes"),
        gallery_images=mean("gallery_images"),
    )


def _identify(
    scores: OpenSetScores, fpirs: Sequence[float], number: int, classes: int, seed: int
) -> tuple[Threshold, ...]:
    impostors, base = scores.unknown_best.sort(descending=True).values, scores.gallery_classes
    larger = max(number, base)
    chosen = {}
    for fpir in fpirs:
        allowed = num_allowed(for_gallery(fpir, larger, base), len(impostors))
        chosen[fpir] = lowest_threshold(impostors, allowed).threshold, allowed >= 1
    points = open_set_intervals(scores, fpirs=(), thresholds=[t for t, _ in chosen.values()], seed=seed).at_threshold
    found = []
    for fpir, (threshold, resolved) in chosen.items():
        rate, low, high = (for_gallery(value, base, larger) for value in points[threshold].fpir)
        found.append(
            Threshold(
                "identify",
                float(fpir),
                threshold,
                number,
                round(scores.gallery_images * number / base),
                classes,
                len(impostors),
                rate,
                resolved,
                low,
                high,
                points[threshold].fnir.mean,
            )
        )
    return tuple(found)


def _verify(pairs: PairScores, fars: Sequence[float], classes: int, seed: int) -> tuple[Threshold, ...]:
    if not len(pairs.same):  # of so many images none of the sample has another of its class there
        return ()
    chosen = {far: pairs.threshold_at(far).threshold for far in fars}
    intervals = pair_intervals(pairs, thresholds=list(chosen.values()), seed=seed)
    found = []
    for far, threshold in chosen.items():
        rate, low, high = intervals.far[threshold]
        resolved = num_allowed(far, pairs.num_different) >= 1
        missed = 1 - intervals.tar[threshold].mean
        found.append(
            Threshold(
                "verify", float(far), threshold, 0, 0, classes, pairs.num_different, rate, resolved, low, high, missed
            )
        )
    return tuple(found)
