"""The pictures of a comparison: means with intervals, and training losses."""

from typing import TYPE_CHECKING, Any

import numpy as np

from circlet.compare.result import Result
from circlet.compare.tables import row_name
from circlet.compare.verdicts import by_classes_alone, to_baseline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOT, RUN, BASELINE = "#1f6fb4", "#888888", "#c51b7d"
FROZEN, CLOSED_FORM = "#e08214", "#35978f"


def interval_plot(result: Result) -> "Figure":
    """For each metric: the mean of each loss with its 95 % interval, and its single runs; below, the differences."""
    from matplotlib.figure import Figure

    entries = result.entries
    places = np.arange(len(entries))[::-1]
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(entries)), layout="constrained")
    panels = figure.subplots(1, len(result.headline) + 1, sharey=True)
    for axes, metric in zip(panels, result.headline, strict=False):
        for place, entry in zip(places, entries, strict=True):
            colour = BASELINE if entry.label == result.baseline else DOT
            _dots(axes, place, entry.values(metric), entry.interval(metric), colour)
        for metrics, colour in ((result.frozen, FROZEN), (result.closed_form, CLOSED_FORM)):
            if metrics is not None and metric in metrics:
                axes.axvline(metrics[metric], color=colour, linewidth=1, linestyle="--")
        axes.set_title(metric, fontsize=10)
    over_classes = to_baseline(result) if by_classes_alone(result) else {}
    for place, entry in zip(places, entries, strict=True):
        if entry.label != result.baseline:
            found = over_classes.get(entry.label)
            difference = result.difference(entry, result.headline[-1]) if found is None else found.interval
            _dots(panels[-1], place, [], difference, DOT)
    panels[-1].axvline(0, color=BASELINE, linewidth=1)
    panels[-1].set_title(f"{result.headline[-1]}, difference to\n{result.baseline}", fontsize=10)
    panels[0].set_yticks(places, [row_name(entry) for entry in entries])
    for axes in panels:
        axes.grid(alpha=0.3, axis="x")
        axes.tick_params(labelsize=9)
        axes.locator_params(axis="x", nbins=5)
    return figure


def loss_curves(result: Result) -> "Figure":
    """Training loss of every run relative to its first logged value: losses of different form have no common unit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, entry in enumerate(result.entries):
        drawn = [curve for curve in entry.loss_curve if curve]  # one that diverged at once has no line in its log
        for number, curve in enumerate(drawn):
            steps, losses = zip(*curve, strict=True)
            label = row_name(entry) if number == 0 else None
            axes.plot(steps, np.divide(losses, losses[0]), color=f"C{i}", alpha=0.8, linewidth=1.2, label=label)
    axes.set(xlabel="step", ylabel="training loss / its first logged value")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _dots(axes: Any, place: int, values: list[float], interval: Any, colour: str) -> None:
    axes.plot(values, np.full(len(values), place), "|", color=RUN, markersize=9)
    if np.isfinite(interval.low):
        axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2, alpha=0.6)
    axes.plot(interval.mean, place, "o", color=colour, markersize=5)
