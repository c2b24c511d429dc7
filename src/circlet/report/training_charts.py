"""Charts of metrics.jsonl: how training went, and what the pairs looked like to the loss (similarity telemetry)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from circlet.report.charts import Axis, Line, line_chart

Log = Sequence[Mapping[str, Any]]


class _Chart(NamedTuple):
    title: str
    axis: Axis
    names: Mapping[str, str]  # key in the log -> name of the line


TRAINING = (
    _Chart("Training loss", Axis("mean since the last logged step", log=True), {"loss": "loss"}),
    _Chart(
        "On the validation classes",
        Axis("share of queries; mean"),
        {"validation_recall@1": "Recall@1", "validation_map@r": "MAP@R"},
    ),
    _Chart("Learning rate", Axis("per step", low=0.0), {"learning_rate": "learning rate"}),
    _Chart("Norm of the gradient", Axis("before clipping", log=True), {"gradient_norm": "norm"}),
)
TELEMETRY = (
    _Chart(
        "Similarities",
        Axis("similarity"),
        {
            "s_p": "positives, mean",
            "s_n": "negatives, mean",
            "s_p_min": "hardest positive",
            "s_n_max": "hardest negative",
        },
    ),
    _Chart(
        "Weights",
        Axis("α of the pairs"),
        {
            "alpha_p": "positives, mean",
            "alpha_n": "negatives, mean",
            "alpha_p_max": "positives, largest",
            "alpha_n_max": "negatives, largest",
        },
    ),
    _Chart(
        "Pairs of weight 0",
        Axis("share of the pairs", low=0.0, high=1.0),
        {"alpha_p_zero": "positives", "alpha_n_zero": "negatives"},
    ),
    _Chart(
        "Gradient",
        Axis("sum of |dL/ds| over the pairs of an anchor"),
        {"gradient_p": "on the positives", "gradient_n": "on the negatives"},
    ),
    _Chart(
        "Past the decision boundary",
        Axis("share of the anchors, of the pairs", low=0.0, high=1.0),
        {
            "past_boundary": "anchors, by their hardest pair",
            "positives_past": "positives, beside the hardest negative",
            "negatives_past": "negatives, beside the hardest positive",
        },
    ),
)


def training_charts(log: Log) -> list[Markup]:
    """Loss, validation, learning rate and gradient over the steps, as far as they were logged."""
    return _charts(TRAINING, log)


def telemetry_charts(log: Log) -> list[Markup]:
    """Similarities, weights, gradient mass and crossing of the boundary over the steps; [] without telemetry."""
    return _charts(TELEMETRY, log)


def _charts(charts: Sequence[_Chart], log: Log) -> list[Markup]:
    drawn = []
    for chart in charts:
        lines = [_line(log, key, name) for key, name in chart.names.items()]
        lines = [line for line in lines if line.x]
        drawn.append(line_chart(chart.title, lines, Axis("step", low=0.0), chart.axis))
    return [chart for chart in drawn if chart]


def _line(log: Log, key: str, name: str) -> Line:
    found = [(line["step"], line[key]) for line in log if key in line]
    return Line(name, [step for step, _ in found], [value for _, value in found])
