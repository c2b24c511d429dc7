"""Who is it, or nobody known? What thresholds give on the test classes: a sentence, a table, and the DET curve."""

from typing import NamedTuple

from markupsafe import Markup

from circlet.experiments.promises import OpenSetFound, promise_sentence
from circlet.report.charts import Axis, Line, line_chart


class OpenSetSection(NamedTuple):
    """What the page shows of it. promise: of the threshold that lets in 1 of 100, in words; "" without thresholds.

    rows: (name, similarity, wrongly accepted, missed) of each threshold. figures: (name, value, interval).
    """

    promise: str
    rows: list[tuple[str, str, str, str]]
    figures: list[tuple[str, str, str]]


def open_set_section(found: OpenSetFound | None) -> OpenSetSection | None:
    """The section; None where the test has no open-set figures, as in runs of earlier versions."""
    if found is None:
        return None
    rows = [(each.name, f"{each.similarity:.3f}", each.accepted_text, each.missed_text) for each in found.promises]
    figures = [
        (_title(name), f"{value:.3f}", interval_text(found.intervals.get(name)))
        for name, value in found.metrics.items()
    ]
    return OpenSetSection("" if found.main is None else promise_sentence(found.main), rows, figures)


def det_chart(found: OpenSetFound | None) -> Markup:
    """FNIR over FPIR, and the point of the threshold for 1 of 100; "" without figures."""
    if found is None:
        return Markup("")
    lines = [Line("all thresholds", [point[1] for point in found.det], [point[2] for point in found.det])]
    promise = found.main
    if promise is not None and promise.accepted:
        lines.append(Line(f"the threshold {promise.similarity:.3f}", [promise.accepted], [promise.missed]))
    return line_chart(
        "Identification: known, or unknown?",
        lines,
        Axis("unknown ones taken for somebody (FPIR)", log=True, high=1.0),
        Axis("known ones missed (FNIR)", low=0.0),
    )


def interval_text(ends: tuple[float, float] | None) -> str:
    """Both ends; "" where there is none, or where they are the same.

    >>> interval_text((0.9851, 0.9962)), interval_text(None), interval_text((1.0, 1.0))
    ('0.985 to 0.996', '', '')
    """
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends is not None and ends[0] < ends[1] else ""


def _title(name: str) -> str:
    """Such as "FNIR at FPIR 1e-2"."""
    kind, _, rate = name.partition("@")
    return {"fnir": f"FNIR at FPIR {rate}", "tar": f"TAR at FAR {rate}", "auroc": "AUROC"}.get(kind, name)
