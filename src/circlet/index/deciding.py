"""From similarities to a class or "unknown", and to same or different: with the threshold and what it means.

A threshold keeps a wanted rate of false alarms, as found on classes that the model had not been trained on
(`circlet.evaluate.thresholds`). How often strangers are taken for somebody grows with the number of classes that are
enrolled; so to identify, the threshold is that for as many as there are, and where these are far more than it was
chosen on, the decision says so.
"""

from collections.abc import Sequence
from typing import NamedTuple

from circlet.evaluate.thresholds import Threshold, Thresholds
from circlet.inference import Model
from circlet.inference.given import Given, image_set

GROWN = 2.0  # times as many classes as a threshold was chosen on: then a decision says so


class Candidate(NamedTuple):
    """A class, how similar its most similar image is, and the name of that image."""

    label: str
    similarity: float
    name: str


class Identified(NamedTuple):
    """Which class an image is of; label None: unknown, no class is similar enough.

    similarity: of the most similar image with a class, -1 to 1. accept_from: the similarity from which on it is
    accepted; threshold: where that comes from, None: it was given as it is; meaning: what it means, in words.
    candidates: the most similar classes, best first. sentence: what was decided, and that meaning.
    """

    label: str | None
    similarity: float
    accept_from: float
    threshold: Threshold | None
    meaning: str
    candidates: tuple[Candidate, ...]
    sentence: str


class Verified(NamedTuple):
    """Whether two images are of one class; same None: there is no threshold to tell by. The rest as in `Identified`."""

    same: bool | None
    similarity: float
    accept_from: float | None
    threshold: Threshold | None
    sentence: str


class Rule(NamedTuple):
    """From which similarity on to accept, where that comes from, and what it means, in words."""

    accept_from: float
    threshold: Threshold | None
    meaning: str


def own_rule(similarity: float) -> Rule:
    """A threshold that somebody has named."""
    if not -1 <= similarity <= 1:
        raise ValueError(f"threshold: found {similarity}, expected a cosine similarity, -1 to 1")
    return Rule(similarity, None, "a threshold of your own: how often it is wrong is not known")


def chosen_rule(
    location: str, thresholds: Thresholds | None, fpir: float, threshold: float | None, num_classes: int
) -> Rule:
    """That of a threshold that somebody has named, else `identify_rule`; ValueError where there is no class at all."""
    if not num_classes:
        raise ValueError(f"{location}: found no image with a class, expected folders for classes, or labels; search "
                         "finds neighbours without any")  # fmt: skip
    return identify_rule(location, thresholds, fpir, num_classes) if threshold is None else own_rule(threshold)


def identify_rule(location: str, thresholds: Thresholds | None, fpir: float, num_classes: int) -> Rule:
    """The rule of an index of that many classes; ValueError where there is no threshold, or none for that rate."""
    if thresholds is None or not thresholds.identify:
        raise ValueError(f"{location}: found no threshold to tell known from unknown by, expected one: of the "
                         "validation classes of a run, chosen on its own classes (Index.calibrate), or a similarity "
                         "of your own (--threshold)")  # fmt: skip
    threshold = thresholds.identify_at(fpir, num_classes if thresholds.curve else None)
    said = f"chosen so that about {percent(fpir)} of images of unknown classes are taken for one of " \
        f"{threshold.gallery_classes:,} enrolled, on {threshold.classes:,} classes{_unresolved(threshold)}"  # fmt: skip
    chosen_for = thresholds.base or threshold.gallery_classes
    if num_classes > GROWN * chosen_for:
        said += f"; that was found with {chosen_for:,} classes enrolled, and for {num_classes:,} it is "
        said += "extrapolated" if thresholds.curve else f"about {percent(threshold.expected_rate(num_classes))}"
    return Rule(threshold.similarity, threshold, said)


def identified(candidates: Sequence[Candidate], rule: Rule) -> Identified:
    """The decision. candidates: best first; none where no image with a class is near."""
    if not candidates:
        sentence = f"unknown (no image with a class is near, threshold {rule.accept_from:.3f}); {rule.meaning}"
        return Identified(None, -1.0, rule.accept_from, rule.threshold, rule.meaning, (), sentence)
    best = candidates[0]
    label = best.label if best.similarity >= rule.accept_from else None
    found = f"similarity {best.similarity:.3f}, threshold {rule.accept_from:.3f}"
    decided = f"unknown ({found}; nearest: {best.label})" if label is None else f"{label} ({found})"
    sentence = f"{decided}; {rule.meaning}"
    return Identified(
        label, best.similarity, rule.accept_from, rule.threshold, rule.meaning, tuple(candidates), sentence
    )


def verify(
    model: Model, first: Given, second: Given, *, far: float = 1e-3, threshold: float | None = None,
    thresholds: Thresholds | None = None,
) -> Verified:  # fmt: skip
    """Whether two images are of one class, by the threshold that the model's run has for a false accept rate.

    far: the rate, one of those that a threshold was chosen for. threshold: a similarity to accept from instead. Without
    either there is no answer, only the similarity. thresholds: of an index, instead of those of the run.
    """
    sets = [image_set(each) for each in (first, second)]
    for name, images in zip(("first", "second"), sets, strict=True):
        if len(images) != 1:
            raise ValueError(f"{name}: found {len(images)} images, expected one")
    rule = verify_rule(model.thresholds if thresholds is None else thresholds, far, threshold)
    rows = [model.embed(images, show_progress=False) for images in sets]
    similarity = float((rows[0] @ rows[1].T).clamp(-1, 1))
    if rule is None:
        sentence = f"similarity {similarity:.3f}; {model.name} has no threshold to tell same from different by: " \
            "take that of an index (--index), train on your own classes (circlet train folder --root PHOTOS), or " \
            "name one (--threshold)"  # fmt: skip
        return Verified(None, similarity, None, None, sentence)
    same = similarity >= rule.accept_from
    found = f"similarity {similarity:.3f}, threshold {rule.accept_from:.3f}"
    sentence = f"{'same' if same else 'different'} ({found}); {rule.meaning}"
    return Verified(same, similarity, rule.accept_from, rule.threshold, sentence)


def verify_rule(thresholds: Thresholds | None, far: float, threshold: float | None) -> Rule | None:
    """From which similarity on two images are taken for one class; None where there is no threshold."""
    if threshold is not None:
        return own_rule(threshold)
    if thresholds is None or not thresholds.verify:
        return None
    found = thresholds.verify_at(far)
    said = f"chosen so that about {percent(far)} of pairs of different classes are taken for one, on " \
        f"{found.classes:,} classes{_unresolved(found)}"  # fmt: skip
    return Rule(found.similarity, found, said)


def _unresolved(threshold: Threshold) -> str:
    if threshold.resolved:
        return ""
    return f" (too few to tell such a rate: of their {threshold.trials:,} trials none is accepted)"


def percent(rate: float) -> str:
    """A rate as people read it.

    >>> percent(0.01), percent(0.0001), percent(0.125)
    ('1 %', '0.01 %', '12.5 %')
    """
    return f"{100 * rate:.3g} %"
