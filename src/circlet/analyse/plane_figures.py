"""Figures 1 and 2: decision boundaries and gradients over the (s_n, s_p) plane, drawn from the losses by autograd.

Figure 1 of the paper sketches; here its arrows are the library's gradients. The paper gives A = {0.8, 0.8} (with its
Figure 2), T = {0.2, 0.5} and T' = {0.4, 0.7}; B and C are chosen here. Figure 2 of the paper has surfaces in
perspective; here they are maps, which can be read off.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from circlet.aggregate import is_coupled
from circlet.analyse.decision_plane import Array, Plane, at_point, decisions, plane
from circlet.losses import AMSoftmaxLoss, CircleLoss, Form, PairLoss, TripletLoss, UnifiedLoss
from circlet.rules import Circle, ConstantMargin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = {"A": (0.8, 0.8), "B": (0.2, 0.2), "C": (0.5, 0.5)}  # (s_n, s_p)
ARROW = 0.2  # length of the arrow of a slope of gamma
BOUNDARY, PULL_N, PULL_P, TARGET = "#444444", "#c51b7d", "#1b7837", "#1f6fb4"
BOX = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


def figure_1(*, linear: PairLoss | None = None, circular: PairLoss | None = None) -> "Figure":
    """Decision boundaries and the pull on points A, B and C: (a) linear, (b) circular. Saves with `.savefig(path)`.

    >>> [axes.get_xlabel() for axes in figure_1().axes]
    ['$s_n$', '$s_n$']

    linear: a loss with a constant margin; default: Eq. 1 with m = 0.3, the boundary through T and T'.
    circular: default: Circle loss with m = 0.25 and the same gamma.
    """
    from matplotlib.figure import Figure

    losses = linear or UnifiedLoss(margin=0.3, gamma=64.0), circular or CircleLoss(margin=0.25, gamma=64.0)
    figure = Figure(figsize=(10, 5.8), layout="constrained")
    for axes, letter, loss in zip(figure.subplots(1, 2), "ab", losses, strict=True):
        _boundary_panel(axes, loss)
        targets = _targets(loss.form())
        where = ", ".join(f"{name} = {{{s_n:g}, {s_p:g}}}" for name, (s_n, s_p) in targets.items())
        axes.set_title(f"({letter}) {describe(loss)}\n{where}", fontsize=11)
        for name, point in targets.items():
            axes.plot(*point, "D", color=TARGET, zorder=5)
            axes.annotate(name, point, (-8, 5), textcoords="offset points", color=TARGET, ha="right", fontsize=12)
    figure.suptitle(
        "{$s_n$, $s_p$}; shaded: past the decision boundary. Arrows: the pull on $s_n$ (pink) and on $s_p$ (green), by "
        "autograd,\nin units of $\\gamma$. A and the points of (a) as in the paper, B and C chosen here",
        fontsize=10,
    )
    return figure


def figure_2(losses: Mapping[str, PairLoss] | None = None, *, points: int = 41) -> "Figure":
    """Maps of |dL/ds_n| and |dL/ds_p| for each loss, with its boundary and the values at A = {0.8, 0.8}.

    >>> from circlet import TripletLoss
    >>> len(figure_2({"triplet": TripletLoss()}, points=5).axes)
    3

    losses: by the name to show; default: the paper's three, triplet, AM-Softmax and Circle. points: along each axis.
    """
    from matplotlib.figure import Figure

    if points < 2:
        raise ValueError(f"points: found {points}, expected at least 2")
    losses = losses or {loss.title: loss for loss in (TripletLoss(), AMSoftmaxLoss(), CircleLoss())}
    figure = Figure(figsize=(1.6 + 3.3 * len(losses), 7.0), layout="constrained")
    grid = figure.subplots(2, len(losses), squeeze=False, sharex=True, sharey=True)
    s = np.linspace(0, 1, points)
    planes = {name: plane(loss, s, s) for name, loss in losses.items()}
    units = {name: gradient_unit(loss.form()) for name, loss in losses.items()}
    highest = max(max(p.gradient_n.max(), -p.gradient_p.min()) / units[name] for name, p in planes.items())
    for column, (name, found) in zip(grid.T, planes.items(), strict=True):
        for axes, gradient in zip(column, (found.gradient_n, -found.gradient_p), strict=True):
            image = _map(axes, found, gradient / units[name], float(highest))
        at_a = at_point(losses[name], 0.8, 0.8)
        for axes, value in zip(column, (at_a.gradient_n, at_a.gradient_p), strict=True):
            axes.plot(0.8, 0.8, "o", color="white", markeredgecolor="black")
            axes.annotate(f"A: {abs(value) / units[name]:.2f}", (0.8, 0.8), (-8, 9), textcoords="offset points",
                          fontsize=9, ha="center", bbox=BOX)  # fmt: skip
        column[0].set_title(f"{name}\n{_numbers(losses[name])}", fontsize=10)
        column[1].set_xlabel("$s_n$")
    for axes, text in zip(grid[:, 0], ("on $s_n$", "on $s_p$"), strict=True):
        axes.set_ylabel(f"gradient {text}\n\n$s_p$")
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.8)
    bar.set_label("|gradient| relative to $\\gamma$ (as it is where a loss does not couple its sides)")
    figure.suptitle("One positive, one negative; dashed: the decision boundary", fontsize=10)
    return figure


def describe(loss: PairLoss) -> str:
    """Name and numbers of a loss, for a title."""
    return ", ".join(filter(None, (loss.title, _numbers(loss))))


def gradient_unit(form: Form) -> float:
    """What |dL/ds| of a loss is measured in: gamma; 1 for a loss that does not couple its sides, but weighs each."""
    return form.typical_rule.scales[1] if is_coupled(form.aggregate) else 1.0


def _numbers(loss: PairLoss) -> str:
    symbols = {"margin": "m", "gamma": r"$\gamma$", "temperature": r"$\tau$", "alpha": r"$\alpha$", "beta": r"$\beta$"}
    return ", ".join(f"{symbols.get(name, name)} = {value:g}" for name, value in loss.hyper_parameters.items())


def _boundary_panel(axes: Any, loss: PairLoss) -> None:
    s = np.linspace(0, 1, 201)
    past = decisions(loss.form(), s, s)
    axes.contourf(s, s, past, levels=[-1e9, 0], colors=["#1f6fb4"], alpha=0.12)
    axes.contour(s, s, past, levels=[0], colors=BOUNDARY, linewidths=2)
    unit = gradient_unit(loss.form())
    for name, (s_n, s_p) in POINTS.items():
        point = at_point(loss, s_n, s_p)
        for end, colour in (
            ((s_n - ARROW * point.gradient_n / unit, s_p), PULL_N),
            ((s_n, s_p - ARROW * point.gradient_p / unit), PULL_P),
        ):
            if np.hypot(end[0] - s_n, end[1] - s_p) > 1e-3:
                axes.annotate("", end, (s_n, s_p), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
        axes.plot(s_n, s_p, "o", color="black")
        axes.annotate(name, (s_n, s_p), (7, -13), textcoords="offset points", fontsize=12)
    axes.set(xlabel="$s_n$", ylabel="$s_p$", xlim=(0, 1), ylim=(0, 1), aspect="equal")


def _targets(form: Form) -> dict[str, tuple[float, float]]:
    """Points (s_n, s_p) on the boundary that the paper names."""
    if isinstance(form.rule, Circle):
        return {"T": (form.rule.margin, 1 - form.rule.margin)}
    on_line = {"T": (0.2, 0.5), "T'": (0.4, 0.7)}
    m = form.rule.margin if isinstance(form.rule, ConstantMargin) else np.nan
    return {name: (s_n, s_p) for name, (s_n, s_p) in on_line.items() if np.isclose(s_p - s_n, m)}


def _map(axes: Any, found: Plane, values: Array, highest: float) -> Any:
    image = axes.pcolormesh(found.s_n, found.s_p, values, vmin=0, vmax=highest, cmap="viridis", shading="gouraud")
    if found.decision.min() <= 0 < found.decision.max():
        axes.contour(found.s_n, found.s_p, found.decision, levels=[0], colors="white", linestyles="dashed")
    axes.set(aspect="equal")
    return image
