"""Line charts as inline SVG: sharp at any size, light, and in the colours of the page, light or dark.

A chart is drawn for the width of a phone and grows with its column. Series differ in dash and colour; the legend is
HTML below it. No script is needed to read one.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 28, 44
_MARGIN = 0.04  # of the data, on either side of an axis whose end is not given
MAX_POINTS = 500
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """A series: its name in the legend, and its points; those that cannot be drawn (nan, log of 0) are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """An axis: its title, whether it is logarithmic, and its ends; None: those of the data."""

    title: str
    log: bool = False
    low: float | None = None
    high: float | None = None


class Scale(NamedTuple):
    """From values to pixels, and where to put numbers."""

    low: float
    high: float
    log: bool
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Pixel of a value, at most at an end."""
        position = math.log10(value) if self.log else value
        share = (position - self.low) / (self.high - self.low)
        return self.start + (self.stop - self.start) * min(max(share, 0.0), 1.0)


def line_chart(title: str, lines: Sequence[Line], x_axis: Axis, y_axis: Axis, *, filled: bool = False) -> str:
    """A chart as HTML: heading, drawing, legend. "" if no point can be drawn.

    filled: shade what is below each line.

    >>> "<svg" in line_chart("loss", [Line("loss", [0, 1], [2.0, 1.0])], Axis("step"), Axis("loss"))
    True
    """
    drawn = [(line.name, _drawable(line, x_axis, y_axis)) for line in lines]
    points = [point for _, series in drawn for point in series]
    if not points:
        return ""
    x = _scale(x_axis, [point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = _scale(y_axis, [point[1] for point in points], HEIGHT - BOTTOM, TOP)
    parts = [_grid(x, y, x_axis.title, y_axis.title)]
    for number, (_, series) in enumerate(drawn, 1):
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in series)
        if filled and series:
            base = HEIGHT - BOTTOM
            closed = f"M{x(series[0][0]):.1f} {base}L{path}L{x(series[-1][0]):.1f} {base}Z"
            parts.append(f'<path class="area s{number}" d="{closed}"/>')
        if series:
            parts.append(f'<path class="line s{number}" d="M{path}"/>')
        if len(series) == 1:
            parts.append(f'<circle class="dot s{number}" cx="{x(series[0][0]):.1f}" cy="{y(series[0][1]):.1f}" r="3"/>')
    summary = "; ".join(f"{name or title} ends at {series[-1][1]:.4g}" for name, series in drawn if series)
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(f"{title}: {summary}")}">'
        f"{''.join(parts)}</svg>{_legend([name for name, _ in drawn])}</figure>"
    )


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    items = "".join(
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="line s{number}" d="M0 4L28 4"/></svg>'
        f"{html.escape(name)}</li>"
        for number, name in enumerate(names, 1)
    )
    return f'<ul class="legend">{items}</ul>'


def _drawable(line: Line, x_axis: Axis, y_axis: Axis) -> list[tuple[float, float]]:
    points = [
        (float(a), float(b))
        for a, b in zip(line.x, line.y, strict=True)
        if math.isfinite(a) and math.isfinite(b) and (a > 0 or not x_axis.log) and (b > 0 or not y_axis.log)
    ]
    if len(points) <= MAX_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]


def _scale(axis: Axis, values: Sequence[float], start: float, stop: float) -> Scale:
    low = min(values) if axis.low is None else axis.low
    high = max(values) if axis.high is None else axis.high
    if axis.log:
        low, high = math.log10(low), math.log10(high)
    margin = 0.5 if high - low < 1e-9 * max(1.0, abs(high)) else _MARGIN * (high - low)
    if axis.low is None or axis.low == axis.high:
        low -= margin
    if axis.high is None:
        high += margin
    return Scale(low, high, axis.log, start, stop)


def ticks(low: float, high: float, *, log: bool) -> list[tuple[float, str]]:
    """Values to name on an axis and how, about five; `low` and `high` are exponents of ten on a logarithmic one.

    >>> ticks(0, 300, log=False)
    [(0.0, '0'), (100.0, '100'), (200.0, '200'), (300.0, '300')]
    >>> ticks(-3, 0, log=True)
    [(0.001, '10⁻³'), (0.01, '10⁻²'), (0.1, '10⁻¹'), (1.0, '1')]
    """
    if log and high - low >= 1:
        first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        stride = max(1, -(-(last - first) // 5))
        return [(10.0**e, power(e)) for e in range(first, last + 1, stride)]
    if log:  # less than a decade: numbers as on a plain axis
        return [tick for tick in ticks(10**low, 10**high, log=False) if tick[0] > 0]
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    digits = max(6, 2 + math.floor(math.log10(max(abs(low), abs(high)) / step)))
    return [(i * step, f"{i * step:.{digits}g}".replace("-", "−")) for i in range(first, last + 1)]


def power(exponent: int) -> str:
    """Ten to the `exponent`, as people write it.

    >>> power(-5), power(2)
    ('10⁻⁵', '100')
    """
    return str(10**exponent) if 0 <= exponent <= 4 else "10" + str(exponent).translate(_RAISED)


def _grid(x: Scale, y: Scale, x_title: str, y_title: str) -> str:
    base = HEIGHT - BOTTOM
    parts = []
    for value, text in ticks(y.low, y.high, log=y.log):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 5:.1f}" text-anchor="end">{text}</text>')
    for value, text in ticks(x.low, x.high, log=x.log):
        parts.append(f'<path class="grid" d="M{x(value):.1f} {base}v5"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{base + 19}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{base}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="quiet" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_title)}</text>'
    )
    parts.append(f'<text class="quiet" x="0" y="13">{html.escape(y_title)}</text>')
    return "".join(parts)
