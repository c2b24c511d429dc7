"""Verdicts in the service's words: known, unknown, or undecided where an index has no threshold.

What decides is that of `circlet.index`, so that the page and the commands say the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from circlet.evaluate.thresholds import Thresholds
from circlet.index import deciding
from circlet.serve import answers
from circlet.serve.names import id_of
from circlet.serve.refusal import Refusal

if TYPE_CHECKING:
    from circlet.serve.gallery import Hit

CANDIDATES = 5
_NONE = "This index has no threshold, so nothing can be called unknown: the most similar class is all that can be said."
_NONE_FOR_PAIRS = "This index has no threshold for pairs: their similarity is all that can be said."


def identified(
    hits: Sequence["Hit"],
    neighbours: tuple[answers.Neighbour, ...],
    thresholds: Thresholds | None,
    fpir: float,
    num_classes: int,
) -> answers.Identified:
    """The verdict on a picture. hits: most similar first, more than are shown. num_classes: that are enrolled."""
    rule = None
    if thresholds is not None and thresholds.identify:
        with _as_refusal():
            rule = deciding.identify_rule("index", thresholds, fpir, max(num_classes, 1))
    best: dict[str, deciding.Candidate] = {}
    for hit in hits:
        if hit.item.label and len(best) < CANDIDATES:
            best.setdefault(hit.item.label, deciding.Candidate(hit.item.label, hit.similarity, hit.item.name))
    candidates = tuple(answers.Candidate(each.label, each.similarity, id_of(each.name)) for each in best.values())
    meaning = _NONE if rule is None else _sentence(rule.meaning)
    at = None if rule is None else rule.accept_from
    if not best:
        sentence = "Unknown: nothing in the index has a class."
        return answers.Identified("unknown", None, None, at, sentence, meaning, (), neighbours)
    first = candidates[0]
    if rule is None:
        sentence = f"Most similar to {first.label} ({first.similarity:.3f})."
        return answers.Identified("undecided", None, first.similarity, None, sentence, meaning, candidates, neighbours)
    label = deciding.identified(list(best.values()), rule).label
    found = f"similarity {first.similarity:.3f}, threshold {rule.accept_from:.3f}"
    sentence = f"Unknown ({found}; nearest: {first.label})." if label is None else f"{label} ({found})."
    return answers.Identified(
        "unknown" if label is None else "known", label, first.similarity, at, sentence, meaning, candidates, neighbours
    )


def verified(similarity: float, thresholds: Thresholds | None, far: float) -> answers.Verified:
    """The verdict on two pictures, by the cosine similarity of their rows."""
    similarity = max(-1.0, min(similarity, 1.0))
    with _as_refusal():
        rule = deciding.verify_rule(thresholds, far, None)
    if rule is None:
        return answers.Verified("undecided", similarity, None, f"Similarity {similarity:.3f}.", _NONE_FOR_PAIRS)
    same = similarity >= rule.accept_from
    found = f"similarity {similarity:.3f}, threshold {rule.accept_from:.3f}"
    sentence = f"{'Same' if same else 'Different'} ({found})."
    return answers.Verified(
        "same" if same else "different", similarity, rule.accept_from, sentence, _sentence(rule.meaning)
    )


def threshold_texts(thresholds: Thresholds | None, num_classes: int) -> tuple[answers.ThresholdText, ...]:
    """All thresholds, with what they mean."""
    if thresholds is None:
        return ()
    found = []
    for each in thresholds.identify:
        rule = deciding.identify_rule("index", thresholds, each.rate, max(num_classes, 1))
        found.append(answers.ThresholdText("identify", each.rate, rule.accept_from, _sentence(rule.meaning)))
    for each in thresholds.verify:
        pair_rule = deciding.verify_rule(thresholds, each.rate, None)
        assert pair_rule is not None, "there is a threshold"
        found.append(answers.ThresholdText("verify", each.rate, pair_rule.accept_from, _sentence(pair_rule.meaning)))
    return tuple(found)


@contextmanager
def _as_refusal() -> Iterator[None]:
    """A rate that no threshold was chosen for is the request's fault; the message says which there are."""
    try:
        yield
    except ValueError as error:
        raise Refusal(400, str(error)) from None


def _sentence(meaning: str) -> str:
    return f"The threshold is {meaning}." if meaning.startswith("chosen") else f"{meaning[0].upper()}{meaning[1:]}."
