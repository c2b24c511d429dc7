"""What a comparison says in words: is any loss better than the frozen network, and which losses really differ.

Differences are over the test classes (`significance`); each of the two questions is corrected for its own comparisons.
"""

from circlet.compare.classes import ClassValues
from circlet.compare.result import Entry, Result
from circlet.compare.significance import LEVEL, Difference, differences, mean_over_seeds
from circlet.evaluate.intervals import Interval
from circlet.experiments.outcome import start_name

CLOSED_FORM = "closed form, no training"
METRIC = "map@r"


def start_of(result: Result) -> str:
    """What there is before any training, as rows call it."""
    return start_name(of_vectors=result.experiment.data.of_vectors)


def classes_of(entry: Entry) -> ClassValues:
    """What an entry found in each test class, the mean over its seeds; empty where a run that ended well left none."""
    runs = zip(entry.classes, entry.diverged, strict=False)
    return mean_over_seeds([found for found, diverged in runs if diverged is None])


def to_frozen(result: Result) -> dict[str, Difference]:
    """Differences to the frozen network, by label, those of the closed form too; empty where they are not known."""
    if not result.frozen_classes:
        return {}
    found = {CLOSED_FORM: result.closed_form_classes or {}} | {e.label: classes_of(e) for e in result.entries}
    return differences(found, result.frozen_classes)


def to_baseline(result: Result) -> dict[str, Difference]:
    """Differences to the baseline, by label; empty where they are not known."""
    found = {entry.label: classes_of(entry) for entry in result.entries}
    return differences(found, found.pop(result.baseline))


def by_classes_alone(result: Result) -> bool:
    """Whether differences over seeds are left out: of heads they are so small that all seem real, on these classes."""
    return result.of_heads and bool(to_baseline(result))


def verdicts(result: Result) -> list[str]:
    """The sentences; none where nothing is known class by class, as for re-identification."""
    return [sentence for sentence in (_against_frozen(result), _between_losses(result)) if sentence]


def p_text(p_value: float) -> str:
    """A p-value in three digits.

    >>> p_text(0.0421), p_text(0.00004)
    ('0.042', '< 0.001')
    """
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _against_frozen(result: Result) -> str:
    found = to_frozen(result)
    trained = {label: one for label, one in found.items() if label != CLOSED_FORM}
    if not trained:
        return ""
    start = start_of(result)
    best = max(trained, key=lambda label: trained[label].interval.mean)
    interval, p = trained[best].interval, p_text(trained[best].corrected)
    p = p if p.startswith("<") else f"= {p}"
    if trained[best].is_real and interval.mean > 0:
        text = (f"On your data, {best} is better than the {start} by {interval.mean:.3f} ± "
                f"{interval.half_width:.3f} MAP@R (Holm-corrected p {p}).")  # fmt: skip
    else:
        text = (f"No loss is better than the {start}, by its interval, on your data; the highest, {best}, "
                f"differs by {_signed(interval)} MAP@R (Holm-corrected p {p}).")  # fmt: skip
    if CLOSED_FORM in found:
        text += (
            f" The closed form alone, which trains no loss, differs from it by {_signed(found[CLOSED_FORM].interval)}."
        )
    return text


def _between_losses(result: Result) -> str:
    found = to_baseline(result)
    if not found:
        return ""
    real = [f"{label} ({one.interval.mean:+.3f})" for label, one in found.items() if one.is_real]
    unclear = [label for label, one in found.items() if not one.is_real]
    parts = [f"real: {', '.join(real)}"] if real else []
    parts += [f"not told from chance: {', '.join(unclear)}"] if unclear else []
    return f"Of the differences to {result.baseline} in MAP@R (Holm-corrected, p < {LEVEL:g}) are {'; '.join(parts)}."


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
