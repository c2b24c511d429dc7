"""Line charts as inline SVG: sharp at any size, light, and in the colours of the page, light or dark.

A chart is drawn for the width of a phone and grows with its column. Series differ in dash and colour; the legend is
HTML below it. No script is needed to read one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from circlet.pages import part

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


class _Series(NamedTuple):
    """A line as it is drawn: SVG paths, and the end of a line of one point."""

    name: str
    path: str
    area: str
    only: tuple[float, float] | None


def line_chart(title: str, lines: Sequence[Line], x_axis: Axis, y_axis: Axis, *, filled: bool = False) -> Markup:
    """A chart as HTML: heading, drawing, legend. "" if no point can be drawn.

    >>> "<svg" in line_chart("loss", [Line("loss", [0, 1], [2.0, 1.0])], Axis("step"), Axis("loss"))
    True

    filled: shade what is below each line.
    """
    drawn = [(line.name, _drawable(line, x_axis, y_axis)) for line in lines]
    points = [point for _, series in drawn for point in series]
    if not points:
        return Markup("")
    x = _scale(x_axis, [point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = _scale(y_axis, [point[1] for point in points], HEIGHT - BOTTOM, TOP)
    return part(
        "report/templates/chart.html",
        title=title,
        summary="; ".join(f"{name or title} ends at {series[-1][1]:.4g}" for name, series in drawn if series),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        base=HEIGHT - BOTTOM,
        x_title=x_axis.title,
        y_title=y_axis.title,
        x_ticks=[(x(value), text) for value, text in ticks(x.low, x.high, log=x.log)],
        y_ticks=[(y(value), text) for value, text in ticks(y.low, y.high, log=y.log)],
        lines=[_series(name, [(x(a), y(b)) for a, b in series], filled=filled) for name, series in drawn],
    )


def _series(name: str, pixels: Sequence[tuple[float, float]], *, filled: bool) -> _Series:
    if not pixels:
        return _Series(name, "", "", None)
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels)
    base = HEIGHT - BOTTOM
    area = f"M{pixels[0][0]:.1f} {base}L{path}L{pixels[-1][0]:.1f} {base}Z" if filled else ""
    return _Series(name, f"M{path}", area, pixels[0] if len(pixels) == 1 else None)


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
