"""Charts: points where they belong, numbers that name them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.report.charts import BOTTOM, HEIGHT, MAX_POINTS, TOP, WIDTH, Axis, Line, line_chart, ticks


def path_of(chart):
    (path,) = re.findall(r'<path class="line s1" d="M([^"]+)"', chart)
    return [tuple(map(float, point.split())) for point in path.split("L")]


def test_points_are_in_proportion():
    (x0, y0), (x1, y1), (x2, y2) = path_of(line_chart("t", [Line("a", [0, 1, 4], [0, 2, 8])], Axis("x"), Axis("y")))
    assert x1 - x0 == pytest.approx((x2 - x0) / 4, abs=0.1)
    assert y1 - y0 == pytest.approx((y2 - y0) / 4, abs=0.1)
    assert y2 < y0  # up the page


def test_logarithmic_axes():
    chart = line_chart("t", [Line("a", [1, 10, 100], [1, 10, 100])], Axis("x", log=True), Axis("y", log=True))
    (x0, y0), (x1, y1), (x2, y2) = path_of(chart)
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2), abs=0.1)


def test_given_ends_are_kept():
    axis = Axis("y", high=1.0)
    for values in ([1.0, 1.0], [0.5, 1.0]):
        assert [y for _, y in path_of(line_chart("t", [Line("a", [0, 1], values)], Axis("x"), axis))][-1] == TOP
    flat = path_of(line_chart("t", [Line("a", [0, 1], [0.0, 0.0])], Axis("x"), Axis("y", low=0.0)))
    assert {y for _, y in flat} == {HEIGHT - BOTTOM}


def test_what_cannot_be_drawn_is_left_out():
    nan, inf = float("nan"), float("inf")
    line = Line("a", [1, 2, 3, 4, 5], [1.0, nan, inf, 0.0, 2.0])
    assert len(path_of(line_chart("t", [line], Axis("x"), Axis("y", log=True)))) == 2
    assert line_chart("t", [Line("a", [1], [nan])], Axis("x"), Axis("y")) == ""
    assert line_chart("t", [], Axis("x"), Axis("y")) == ""


def test_long_series_keep_their_ends():
    path = path_of(line_chart("t", [Line("a", range(5000), range(5000))], Axis("x"), Axis("y")))
    assert len(path) == MAX_POINTS
    whole = path_of(line_chart("t", [Line("a", [0, 4999], [0, 4999])], Axis("x"), Axis("y")))
    assert (path[0], path[-1]) == (whole[0], whole[-1])


def test_text_is_escaped():
    chart = line_chart("<t>", [Line("<a>", [0], [1]), Line("<b>", [0], [1])], Axis("<x>"), Axis("<y>"))
    assert not re.search(r"<[tabxy]>", chart)
    assert chart.count("&lt;a&gt;") >= 1


VALUES = st.one_of(st.floats(-1e12, -1e-12), st.just(0.0), st.floats(1e-12, 1e12))


@given(
    st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_nothing_leaves_the_frame(points, x_log, y_log):
    line = Line("a", [x for x, _ in points], [y for _, y in points])
    chart = line_chart("t", [line], Axis("x", log=x_log), Axis("y", log=y_log))
    if chart:
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in path_of(chart))


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.booleans())
def test_ticks_are_few_round_and_inside(low, span, log):
    if log:
        low, span = low % 20 - 10, span % 12 + 0.05
    if abs(low) > 1e6 * span:
        return
    found = ticks(low, low + span, log=log)
    assert len({text for _, text in found}) == len(found) <= 8
    if not log:
        assert len(found) >= 2
        assert all(low - 1e-5 * span <= value <= low + span * 1.00001 for value, _ in found)
