"""Figures 3 to 5: hyper-parameters and convergence, as measured in real runs. These functions plot; they do not train.

Where the paper is silent, the plot says what it shows: which similarities are averaged (Figure 4), which of an anchor's
pairs is its dot, and when it counts as crossing the boundary (Figure 5).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from circlet.analyse.boundary import decision
from circlet.analyse.decision_plane import Array, decisions
from circlet.analyse.plane_figures import BOUNDARY, describe
from circlet.analyse.trace import Hardest
from circlet.losses import Form, PairLoss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CROSSING, CONVERGED = "#1f6fb4", "#1b7837"
BAND = 0.02  # a dot this near to the boundary, in units of similarity, is crossing it
LAST_SHARE = 0.1  # of the logged steps: after convergence
MARKERS = "osDv^P*X"

Sweep = Mapping[str, Sequence[tuple[float, float]]]


def figure_3(gammas: Sweep, margins: Sweep, *, metric: str, data: str) -> "Figure":
    """A metric against gamma (left, logarithmic) and against the margin (right); an empty sweep has no panel.

    >>> figure_3({"Circle": [(32.0, 0.8), (64.0, 0.9)]}, {}, metric="recall@1", data="glyphs").axes[0].get_xlabel()
    'scale $\\\\gamma$'

    gammas, margins: (value of the hyper-parameter, metric) of each run, by the name of the line; lines whose names are
    equal up to a comma have one colour. A metric of NaN is a run that diverged: a cross at the bottom, out of the line.
    metric: its name. data: where it was measured, for the title.
    """
    from matplotlib.figure import Figure

    panels = [(sweep, label) for sweep, label in ((gammas, "scale $\\gamma$"), (margins, "margin m")) if sweep]
    if not panels:
        raise ValueError("gammas, margins: found no run, expected at least one")
    colours = list(dict.fromkeys(name.split(",")[0] for sweep, _ in panels for name in sweep))
    figure = Figure(figsize=(1 + 4.8 * len(panels), 4.4), layout="constrained")
    for axes, (sweep, label) in zip(
        figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels, strict=True
    ):
        for i, (name, runs) in enumerate(sweep.items()):
            style = {"marker": MARKERS[i % len(MARKERS)], "color": f"C{colours.index(name.split(',')[0])}"}
            found = sorted(run for run in runs if not math.isnan(run[1]))
            axes.plot([value for value, _ in found], [score for _, score in found], label=name, **style)
            lost = [value for value, score in runs if math.isnan(score)]
            if lost:  # at the lower edge of the panel, whatever the metric's range
                axes.plot(lost, [0.03] * len(lost), "X", color=style["color"], markersize=9, markeredgecolor="black",
                          transform=axes.get_xaxis_transform(), label=f"{name}: diverged")  # fmt: skip
        if sweep is gammas:
            axes.set_xscale("log", base=2)
            values = sorted({value for runs in sweep.values() for value, _ in runs})
            axes.set_xticks(values, [f"{value:g}" for value in values], minor=False)
        axes.set(xlabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel(metric)
    figure.suptitle(f"{data}: {metric} on unseen classes, one run a dot", fontsize=10)
    return figure


def figure_4(logs: Mapping[str, Sequence[Mapping[str, Any]]], *, data: str = "") -> "Figure":
    """Mean similarity of positive and of negative pairs over training, for each run.

    >>> lines = [{"step": 20, "loss": 3.0, "s_p": 0.4, "s_n": 0.3}, {"step": 40, "loss": 2.0, "s_p": 0.6, "s_n": 0.1}]
    >>> len(figure_4({"Circle": lines}).axes[0].lines)
    2

    logs: lines of metrics.jsonl, with telemetry, by the name of the run. data: what was trained on, for the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for i, (name, lines) in enumerate(logs.items()):
        seen = [line for line in lines if "s_p" in line]
        if not seen:
            raise ValueError(
                f"logs: found no telemetry (s_p, s_n) in {name!r}, expected lines of metrics.jsonl with it"
            )
        steps = [line["step"] for line in seen]
        for key, symbol, style in (("s_p", "$s_p$", "-"), ("s_n", "$s_n$", "--")):
            axes.plot(steps, [line[key] for line in seen], style, color=f"C{i}", label=f"{symbol}, {name}")
    axes.set(xlabel="step", ylabel="mean similarity")
    axes.grid(alpha=0.3)
    axes.legend()
    words = "mean over all positive pairs (solid) and all negative pairs (dashed) of a training batch"
    axes.set_title(f"{data}:\n{words}" if data else words.capitalize(), fontsize=10)
    return figure


def figure_5(runs: Sequence[tuple[PairLoss, Sequence[Hardest]]], *, band: float = BAND, data: str = "") -> "Figure":
    """Where anchors cross the decision boundary (blue), and where they are in the end (green), a panel for each run.

    runs: the loss of a run and its trace (`read_trace`). A dot is one anchor of a training batch: its hardest positive
    s_p (its only one with class-level labels) and its largest s_n. band: it is crossing where it is nearer than this
    to the boundary, at any logged step before the last tenth; the last tenth is the end. data: what was trained on, for
    the title.
    """
    from matplotlib.figure import Figure

    if not runs:
        raise ValueError("runs: found none, expected at least one")
    forms = [loss.form() for loss, _ in runs]
    shown = [_crossing_and_last(form, trace, band) for form, (_, trace) in zip(forms, runs, strict=True)]
    everything = np.concatenate([pairs for parts in shown for pairs in parts])
    low_n, low_p = (min(0.0, float(np.floor(10 * low) / 10)) for low in everything.min(0))
    width = 4.0 * (1 - low_n) / (1 - low_p)
    figure = Figure(figsize=(max(8.0, 0.8 + (width + 0.3) * len(runs)), 5.4), layout="constrained")
    panels = figure.subplots(1, len(runs), squeeze=False, sharex=True, sharey=True)[0]
    for axes, form, (loss, _), (crossing, last) in zip(panels, forms, runs, shown, strict=True):
        for pairs, colour, shape, name in ((last, CONVERGED, ".", "in the end"), (crossing, CROSSING, "^", "crossing")):
            axes.plot(pairs[:, 0], pairs[:, 1], shape, color=colour, alpha=0.6, markersize=4, markeredgewidth=0,
                      label=f"{name} ({len(pairs)})")  # fmt: skip
        s_n, s_p = np.linspace(low_n, 1, 241), np.linspace(low_p, 1, 241)
        axes.contour(s_n, s_p, decisions(form, s_n, s_p), levels=[0], colors=BOUNDARY, linewidths=2)
        axes.set(xlabel="largest $s_n$", xlim=(low_n, 1), ylim=(low_p, 1.01), aspect="equal")
        axes.set_title(describe(loss), fontsize=10)
        axes.legend(loc="lower right", fontsize=8)
    panels[0].set_ylabel("smallest $s_p$")
    figure.suptitle(
        (f"{data}. " if data else "") + "A dot: one anchor of a training batch, its smallest $s_p$ and largest $s_n$.\n"
        f"Crossing: within {band:g} of the boundary at a logged step; in the end: the last tenth of the logged steps",
        fontsize=9,
    )
    return figure


def distance(form: Form, s_n: Array, s_p: Array) -> Array:
    """Distance of points from the decision boundary, to first order, in units of similarity; < 0 past it."""
    n, p = torch.from_numpy(s_n), torch.from_numpy(s_p)
    h = 1e-4  # differences, since the derivative of Circle's logits is not their slope (its weights are detached)
    along_n = (decision(form, n + h, p) - decision(form, n - h, p)) / (2 * h)
    along_p = (decision(form, n, p + h) - decision(form, n, p - h)) / (2 * h)
    steepness = torch.hypot(along_n, along_p)
    found: Array = torch.where(steepness > 0, decision(form, n, p) / steepness, torch.inf).numpy()
    return found


def _crossing_and_last(form: Form, trace: Sequence[Hardest], band: float) -> tuple[Array, Array]:
    """(anchors, 2) of s_n and s_p: those crossing the boundary before the end, and those of the end."""
    if len(trace) < 2:
        raise ValueError(f"runs: found a trace of {len(trace)} logged steps, expected at least 2")
    pairs = [np.stack([seen.s_n, seen.s_p], axis=1) for seen in trace]
    num_last = max(1, round(LAST_SHARE * len(pairs)))
    before = np.concatenate(pairs[:-num_last])
    return before[np.abs(distance(form, before[:, 0], before[:, 1])) < band], np.concatenate(pairs[-num_last:])
