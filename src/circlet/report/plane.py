"""The (s_n, s_p) plane over training: the hardest pair of single anchors, and the decision boundary of the loss.

Each anchor is a point (max s_n, min s_p) of a logged step's batch (`circlet.analyse.Trace`). The boundary is where the
logits of one positive and one negative cancel: for Circle loss the circle s_n^2 + (s_p - 1)^2 = 2 m^2 (Eq. 7 and 8).
Of a loss whose rule differs from anchor to anchor it is that of embeddings of length 1.
plane.js moves through the steps; without script the last one is shown.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from circlet.analyse import Hardest
from circlet.analyse.decision_plane import decisions
from circlet.losses import PairLoss
from circlet.pages import part
from circlet.report.charts import ticks
from circlet.similarity import Rule

SIDE, LEFT, TOP = 400, 52, 10  # of the plot, in a view box of 480 x 460
MAX_FRAMES, MAX_ANCHORS = 150, 128
_CELLS = 160


class PlaneSection(NamedTuple):
    """HTML of the section, and what plane.js needs to know."""

    html: Markup
    data: dict[str, Any]


def plane_section(trace: Sequence[Hardest], loss: PairLoss) -> PlaneSection:
    """The animated plane; `trace` has at least one step with an anchor."""
    trace = [frame for frame in trace if len(frame.s_n)]
    frames = [trace[i] for i in _evenly(len(trace), MAX_FRAMES)]
    low, high = _range(frames)

    def pixels(s_n: NDArray[np.float64], s_p: NDArray[np.float64]) -> NDArray[np.int64]:
        """Tenths of pixels (points, 2); what lies outside the plane is put on its edge."""
        x, y = ((np.clip(s, low, high) - low) / (high - low) * SIDE for s in (s_n, s_p))
        return (10 * np.stack([LEFT + x, TOP + SIDE - y], axis=1)).round().astype(np.int64)

    points = []
    for frame in frames:
        kept = _evenly(len(frame.s_n), MAX_ANCHORS)
        points.append(pixels(frame.s_n[kept], frame.s_p[kept]))
    means = np.concatenate([pixels(frame.s_n.mean(keepdims=True), frame.s_p.mean(keepdims=True)) for frame in frames])
    region, boundary = _boundary(loss, low, high)
    numbers = [f"{key} {value:g}" for key, value in loss.hyper_parameters.items()]
    if not isinstance(loss.form().rule, Rule):
        numbers.append("for embeddings of length 1")
    section = part(
        "report/templates/plane.html",
        left=LEFT,
        top=TOP,
        side=SIDE,
        ticks=[((value - low) / (high - low) * SIDE, text) for value, text in ticks(low, high, log=False)],
        region=region,
        boundary=boundary,
        points=(points[-1] / 10).tolist(),
        hidden=max(map(len, points)) - len(points[-1]),
        means=(means / 10).tolist(),
        last=len(frames) - 1,
        step=frames[-1].step,
        loss=", ".join([loss.title, *numbers]),
    )
    shown = [frame.ravel().tolist() for frame in points]
    steps = [frame.step for frame in frames]
    return PlaneSection(section, {"steps": steps, "points": shown, "means": means.tolist()})


def _evenly(number: int, most: int) -> list[int]:
    """At most `most` of 0..number-1, evenly spaced, the last one among them."""
    if number <= most:
        return list(range(number))
    return [round(i * (number - 1) / (most - 1)) for i in range(most)]


def _range(frames: Sequence[Hardest]) -> tuple[float, float]:
    """Ends of both axes: -0.4 to 1 if that holds 98 % of what there is, else further, in tenths."""
    values = np.concatenate([part for frame in frames for part in (frame.s_n, frame.s_p)])
    low, high = np.percentile(values, [1, 99])
    return min(-0.4, float(np.floor(low * 10) / 10)), max(1.0, float(np.ceil(high * 10) / 10))


def _boundary(loss: PairLoss, low: float, high: float) -> tuple[str, str]:
    """SVG paths: the region past the decision boundary, and the boundary."""
    from matplotlib.figure import Figure

    s = np.linspace(low, high, _CELLS + 1)
    values = decisions(loss.form(), s, s)
    axes = Figure().subplots()
    region, line = "", ""
    if values.min() <= 0:
        filled = axes.contourf(s, s, values, levels=[values.min() - 1, 0.0])
        region = "".join(_path(polygon, low, high) + "Z" for path in filled.get_paths() for polygon in _pieces(path))
    if values.min() <= 0 < values.max():
        found = axes.contour(s, s, values, levels=[0.0])
        line = "".join(_path(piece, low, high) for piece in found.allsegs[0])
    return region, line


def _pieces(path: Any) -> list[NDArray[np.float64]]:
    starts = np.flatnonzero(path.codes == path.MOVETO)
    return [piece for piece in np.split(path.vertices, starts[1:]) if len(piece)]


def _path(points: NDArray[np.float64], low: float, high: float) -> str:
    unit = SIDE / (high - low)
    return "M" + "L".join(f"{LEFT + (n - low) * unit:.1f} {TOP + (high - p) * unit:.1f}" for n, p in points)
