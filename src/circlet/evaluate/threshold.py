"""A threshold with what is known of it: for which rate, for how many enrolled classes, found on what; as JSON too.

How thresholds are chosen is in `thresholds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from circlet.evaluate.accepting import num_allowed
from circlet.evaluate.checks import check_fractions
from circlet.typed import at, typed


@dataclass(frozen=True)
class Threshold:
    """From which cosine similarity on to accept, and what that was found to mean on validation classes.

    task: identify or verify. rate: the FPIR or FAR that was asked for. similarity: at or above it: accepted.
    gallery_classes, gallery_images: identify: for how many enrolled classes, of how many images in all, about; verify:
    0. classes: validation classes that it was chosen on. trials: how many images of unknown classes, or pairs of two.
    found: the rate on these, for that gallery. low, high: its 95 % interval over classes. resolved: whether `rate` of
    the trials is one at least; where not, it is just above all of them, and found is 0. missed: share of the images of
    enrolled classes, or pairs of one class, that are not accepted as such (FNIR at rank 1, or 1 - TAR).
    """

    task: Literal["identify", "verify"]
    rate: float
    similarity: float
    gallery_classes: int
    gallery_images: int
    classes: int
    trials: int
    found: float
    resolved: bool
    low: float
    high: float
    missed: float

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate: found {self.rate}, expected a share above 0 and up to 1")
        if not -1.01 <= self.similarity <= 1.01:
            raise ValueError(f"similarity: found {self.similarity}, expected a cosine, -1 to 1")
        for name in ("gallery_classes", "gallery_images", "classes", "trials"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 0 or more")
        for name in ("found", "low", "high", "missed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected a share, 0 to 1")

    @property
    def sentence(self) -> str:
        """What it means: "At 0.62, 1 of 100 images of unknown classes is taken for one of the 40 enrolled; ..."."""
        what = "images of unknown classes" if self.task == "identify" else "pairs of two classes"
        told = f"At {self.similarity:.3f}, {of_many(self.rate, self.rate)} {what} "
        if not self.resolved:
            told = (f"{self.trials:,} {what} are too few for {of_many(self.rate, self.rate)}: at "
                    f"{self.similarity:.3f}, above all of them, none ")  # fmt: skip
        missed = f"{self.missed:.1%}".replace("%", " %")
        if self.task == "identify":
            return (
                f"{told}is taken for one of the {self.gallery_classes:,} enrolled; {missed} of known ones are missed."
            )
        return f"{told}is accepted as one class; {missed} of the pairs of one class are refused."

    def expected_rate(self, gallery_classes: int) -> float:
        """FPIR at this similarity for another number N of enrolled classes: 1 - (1 - found)^(N / gallery_classes).

        As if each enrolled class had a chance of its own, the same for all, to be taken for (NIST FRTE 1:N). An
        estimate: an image that is like nobody stays so, which makes it too high for a larger gallery; few classes need
        not hold the look-alikes that many do, which makes it too low.
        """
        if self.task == "verify" or self.gallery_classes == 0:
            return self.found
        return for_gallery(self.found, self.gallery_classes, gallery_classes)


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of one embedding. base: how many classes were enrolled on average when the curve was measured.

    curve: (similarity, FPIR, FNIR at rank 1) for that many, by falling similarity: what thresholds for another gallery
    are made of (`identify_at`).
    """

    identify: tuple[Threshold, ...]
    verify: tuple[Threshold, ...]
    base: int = 0
    curve: tuple[tuple[float, float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.base < (1 if self.curve else 0):
            raise ValueError(f"base: found {self.base}, expected how many classes the curve was measured with")
        for point in self.curve:
            if not (-1.01 <= point[0] <= 1.01 and 0 <= point[1] <= 1 and 0 <= point[2] <= 1):
                raise ValueError(f"curve: found {list(point)}, expected a cosine, -1 to 1, and two shares, 0 to 1")

    def identify_at(self, fpir: float, gallery_classes: int | None = None) -> Threshold:
        """The threshold to identify at this FPIR; of another gallery or FPIR than those chosen for, from the curve.

        gallery_classes: how many are enrolled; None: as many as it was chosen for. A gallery smaller than `base` keeps
        the threshold of `base`, whose rate it stays below. The interval is that of the nearest FPIR chosen for, scaled.
        ValueError where nothing was chosen to identify by.
        """
        if not self.identify:
            raise ValueError("identify: found no threshold, expected one: choose some on validation classes")
        check_fractions("fpir", [fpir])
        like = min(self.identify, key=lambda each: abs(each.rate - fpir))
        number = like.gallery_classes if gallery_classes is None else max(gallery_classes, 1)
        if like.rate == fpir and (number == like.gallery_classes or not self.curve):
            return like
        if not self.curve:
            raise ValueError(f"fpir: found {fpir:g}, expected one of {', '.join(f'{t.rate:g}' for t in self.identify)}")
        wanted = for_gallery(fpir, number, self.base) if number > self.base else fpir
        kept = [point for point in self.curve if point[1] <= wanted] or [self.curve[0]]
        similarity, rate, missed = kept[-1]
        found = for_gallery(rate, self.base, number) if number > self.base else rate
        scale = found / like.found if like.found else 1.0
        return replace(
            like,
            rate=fpir,
            similarity=similarity,
            gallery_classes=number,
            gallery_images=round(like.gallery_images * number / max(like.gallery_classes, 1)),
            found=found,
            resolved=num_allowed(wanted, like.trials) >= 1,
            low=min(like.low * scale, found),
            high=max(min(like.high * scale, 1.0), found),
            missed=missed,
        )

    def verify_at(self, far: float) -> Threshold:
        """The threshold to verify at this FAR; ValueError if none was chosen for it."""
        for threshold in self.verify:
            if threshold.rate == far:
                return threshold
        known = ", ".join(f"{threshold.rate:g}" for threshold in self.verify) or "none"
        raise ValueError(f"far: found {far:g}, expected one that a threshold was chosen for: {known}")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        chosen = {name: [asdict(each) for each in getattr(self, name)] for name in ("identify", "verify")}
        return {**chosen, "base": self.base, "curve": [list(point) for point in self.curve]}

    @classmethod
    def from_json(cls, content: Any, name: str = "thresholds") -> Thresholds:
        """What `to_json` gave, checked; unknown keys are passed over. ValueError that names what is wrong."""
        found = typed(dict[str, Any], content, name)
        parts = {}
        for task in ("identify", "verify"):
            listed = typed(list[dict[str, Any]], found.get(task, []), at(name, task))
            parts[task] = tuple(_threshold(each, at(name, f"{task}[{i}]"), task) for i, each in enumerate(listed))
        curve = typed(tuple[tuple[float, float, float], ...], found.get("curve", []), at(name, "curve"))
        return cls(**parts, base=typed(int, found.get("base", 0), at(name, "base")), curve=curve)


def _threshold(content: Mapping[str, Any], name: str, task: str) -> Threshold:
    known = {field.name for field in fields(Threshold)}
    found: Threshold = typed(Threshold, {key: value for key, value in content.items() if key in known}, name)
    if found.task != task:
        raise ValueError(f"{name}.task: found {found.task!r}, expected {task!r}")
    return found


def for_gallery(rate: float, enrolled: int, other: int) -> float:
    """The FPIR for `other` enrolled classes of a threshold that gives `rate` for `enrolled`.

    >>> round(for_gallery(0.01, 10, 100), 4)
    0.0956
    """
    return rate if enrolled == other else 1 - (1 - rate) ** (other / enrolled)


def of_many(rate: float, wanted: float) -> str:
    """A rate as people count, in the numbers in which `wanted` is 1 of so many.

    >>> of_many(0.01, 0.01), of_many(0.0128, 0.01), of_many(0.00005, 0.0001), of_many(0.3, 0.3)
    ('1 of 100', '1.3 of 100', '0.5 of 10,000', '30 of 100')
    """
    number = round(1 / wanted)
    if abs(number * wanted - 1) > 1e-6:  # no whole number
        number = 100
    return f"{float(f'{rate * number:.2g}'):g} of {number:,}"
