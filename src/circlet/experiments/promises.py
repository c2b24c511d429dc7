"""Whether the thresholds of a run keep their promises on its test classes, and how well unknown ones are told there.

Each test class is left out of the gallery in turn (`circlet.evaluate.leave_one_class_out`). Thresholds come from
validation classes (`held_out`), never from these.
"""

from typing import Any, NamedTuple

import torch

from circlet.data.query_gallery import TestSet
from circlet.evaluate import Interval, OpenSetScores, Threshold, Thresholds, open_set_intervals
from circlet.evaluate.checks import unit_rows
from circlet.evaluate.open_set import det_curve
from circlet.evaluate.pair_intervals import pair_intervals
from circlet.evaluate.pair_scores import PairScores, pair_scores
from circlet.evaluate.threshold import of_many
from circlet.evaluate.thresholds import FARS, FPIRS
from circlet.experiments.experiment import Experiment
from circlet.experiments.metrics import Bounds, passed_over
from circlet.files import nan_for_null
from circlet.models import Embedded
from circlet.typed import typed


class Promise(NamedTuple):
    """A threshold on the test classes. rate: the FPIR or FAR that was promised; accepted: what came; missed: FNIR at
    rank 1, or 1 - TAR; with 95 % intervals over classes. baks, baus: of identify, else None.
    """

    task: str
    rate: float
    similarity: float
    gallery_classes: int
    accepted: float
    accepted_interval: Bounds
    missed: float
    missed_interval: Bounds
    baks: float | None = None
    baus: float | None = None

    @property
    def name(self) -> str:
        """Such as "identify, 1 of 100"."""
        return f"{self.task}, {of_many(self.rate, self.rate)}"

    @property
    def accepted_text(self) -> str:
        """The rate that came, as people count, with its interval: "1.2 of 100 (0.4 to 2)"."""
        low, high = (of_many(end, self.rate).split(" ")[0] for end in self.accepted_interval)
        found = of_many(self.accepted, self.rate)
        return f"{found} ({low} to {high})" if self.accepted_interval[0] < self.accepted_interval[1] else found

    @property
    def missed_text(self) -> str:
        """In percent."""
        low, high = (100 * end for end in self.missed_interval)
        return f"{100 * self.missed:.1f} %" + (f" ({low:.1f} to {high:.1f})" if low < high else "")


class OpenSetFound(NamedTuple):
    """Open-set figures of a test, for result.json.

    gallery_classes, gallery_images: enrolled when one class is unknown. queries: images that asked. pairs: of two
    classes. metrics: auroc, fnir@... at rank 1 by FPIR, tar@... by FAR; intervals: their ends. det: (threshold, FPIR,
    FNIR at rank 1). promises: what the run's thresholds gave.
    """

    gallery_classes: int
    gallery_images: int
    queries: int
    pairs: int
    metrics: dict[str, float]
    intervals: dict[str, Bounds]
    det: tuple[tuple[float, float, float], ...]
    promises: tuple[Promise, ...]

    @property
    def main(self) -> Promise | None:
        """The promise to show first: that of identify at 1 of 100, else the first."""
        told = [each for each in self.promises if each.task == "identify" and each.rate == 0.01]
        return next(iter([*told, *self.promises]), None)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**self._asdict(), "promises": [promise._asdict() for promise in self.promises]}

    @classmethod
    def from_json(cls, content: Any, name: str = "open_set") -> "OpenSetFound":
        """What `to_json` gave, read from a file; ValueError that names what is wrong."""
        hints = dict(cls.__annotations__)
        found = typed(dict[str, Any], content, name)
        promises = typed(list[dict[str, Any]], found.get("promises", []), f"{name}.promises")
        read = tuple(_promise(each, f"{name}.promises[{i}]") for i, each in enumerate(promises))
        rest = {}
        for key, kind in hints.items():
            if key != "promises":
                if key not in found:
                    raise ValueError(f"{name}.{key}: found no such key, expected one")
                rest[key] = typed(kind, nan_for_null(found[key]), f"{name}.{key}")
        return cls(**rest, promises=read)


def _promise(content: dict[str, Any], name: str) -> Promise:
    known = {key: nan_for_null(value) for key, value in content.items() if key in Promise._fields and value is not None}
    found: Promise = typed(Promise, known, name)
    return found


def open_set_found(
    scores: OpenSetScores | None,
    embedded: Embedded,
    test_set: TestSet,
    experiment: Experiment,
    thresholds: Thresholds | None,
) -> OpenSetFound | None:
    """What the test classes say; None where there is no unknown class to make of them.

    Thresholds to identify are those for as many enrolled classes as there are here.
    """
    if scores is None:
        return None
    pairs = _pairs(embedded, test_set, experiment)
    identify: tuple[Threshold, ...] = ()
    verify: tuple[Threshold, ...] = ()
    if thresholds is not None:
        identify = tuple(thresholds.identify_at(each.rate, scores.gallery_classes) for each in thresholds.identify)
        verify = thresholds.verify
    fpirs = [rate for rate in FPIRS if rate * len(scores.unknown_best) >= 1]
    fars = [rate for rate in FARS if rate * pairs.num_different >= 1 and len(pairs.same)]
    sure = open_set_intervals(scores, fpirs=fpirs, thresholds=[each.similarity for each in identify])
    of_pairs = pair_intervals(pairs, fars=fars, thresholds=[each.similarity for each in verify])
    figures = {"auroc": sure.auroc}
    figures |= {metric_name("fnir", rate): sure.fnir_at_fpir[rate] for rate in fpirs}
    figures |= {metric_name("tar", rate): of_pairs.tar_at_far[rate] for rate in fars}
    promises = []
    for each in identify:
        at = sure.at_threshold[each.similarity]
        told = (each.task, each.rate, each.similarity, scores.gallery_classes)
        promises.append(
            Promise(*told, at.fpir.mean, _ends(at.fpir), at.fnir.mean, _ends(at.fnir), at.baks.mean, at.baus.mean)
        )
    for each in verify:
        far, tar = of_pairs.far[each.similarity], of_pairs.tar[each.similarity]
        if len(pairs.same) and pairs.num_different:
            told = (each.task, each.rate, each.similarity, 0)
            promises.append(Promise(*told, far.mean, _ends(far), 1 - tar.mean, (1 - tar.high, 1 - tar.low)))
    return OpenSetFound(
        gallery_classes=scores.gallery_classes,
        gallery_images=scores.gallery_images,
        queries=len(scores.unknown_best),
        pairs=pairs.num_different,
        metrics={name: each.mean for name, each in figures.items()},
        intervals={name: _ends(each) for name, each in figures.items()},
        det=det_curve(scores),
        promises=tuple(promises),
    )


def metric_name(name: str, rate: float) -> str:
    """Such as "tar@1e-3"."""
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{name}@{float(mantissa):g}e{int(exponent)}"


def promise_sentence(promise: Promise) -> str:
    """What came of a threshold, in words."""
    if promise.task == "identify":
        return (
            f"At {promise.similarity:.3f}, {promise.accepted_text} images of unknown classes are taken for one "
            f"of the {promise.gallery_classes:,} enrolled; {promise.missed_text} of known ones are missed."
        )
    return (f"At {promise.similarity:.3f}, {promise.accepted_text} pairs of two classes are accepted as one; "
            f"{promise.missed_text} of the pairs of one class are refused.")  # fmt: skip


def _pairs(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> PairScores:
    """Of all test images with one another, but for what the task passes over."""
    rows, labels = embedded.query, test_set.query_labels
    groups = passed_over(test_set, experiment)
    together = None if groups is None else groups[0]
    if embedded.gallery is not None and test_set.gallery_labels is not None:
        kept = ~torch.from_numpy(test_set.searched.images.is_junk())
        rows = torch.cat([rows, embedded.gallery[kept]])
        labels = torch.cat([labels, test_set.gallery_labels[kept]])
        together = None if groups is None else torch.cat([groups[0], groups[1][kept]])
    return pair_scores(unit_rows(rows), labels, groups=together)


def _ends(interval: Interval) -> Bounds:
    return interval.low, interval.high
