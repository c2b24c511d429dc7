"""The figures hold what they are given, and refuse what they cannot show."""

import subprocess
import sys

import numpy as np
import pytest

import circlet
from circlet.analyse import Hardest, at_point, figure_1, figure_2, figure_3, figure_4, figure_5
from circlet.analyse.plane_figures import ARROW, POINTS, describe, gradient_unit
from circlet.analyse.run_figures import distance
from tests.analyse.family import FAMILY


def test_figure_1_has_the_pull_of_the_library_on_its_points():
    figure = figure_1()
    for axes, loss in zip(
        figure.axes,
        (circlet.UnifiedLoss(margin=0.3, gamma=64.0), circlet.CircleLoss(margin=0.25, gamma=64.0)),
        strict=True,
    ):
        ends = {tuple(np.round(note.xy, 6)) for note in axes.texts if note.arrow_patch is not None}
        for s_n, s_p in POINTS.values():
            found = at_point(loss, s_n, s_p)
            for end in ((s_n - ARROW * found.gradient_n / 64, s_p), (s_n, s_p - ARROW * found.gradient_p / 64)):
                assert tuple(np.round(end, 6)) in ends
    linear, circular = (axes.get_title() for axes in figure.axes)
    assert linear.endswith("T = {0.2, 0.5}, T' = {0.4, 0.7}")
    assert circular.endswith("T = {0.25, 0.75}")


def test_figure_1_with_other_losses_marks_no_point_that_is_not_theirs():
    figure = figure_1(linear=circlet.AMSoftmaxLoss(), circular=circlet.MultiSimilarityLoss())
    texts = " ".join(note.get_text() for axes in figure.axes for note in axes.texts)
    assert set(texts.split()) == set(POINTS)


def test_figure_2_shows_any_loss_of_the_family():
    figure = figure_2(FAMILY, points=4)
    assert len(figure.axes) == 2 * len(FAMILY) + 1
    for column, loss in enumerate(FAMILY.values()):
        at_a = at_point(loss, 0.8, 0.8)
        shown = [figure.axes[column + row * len(FAMILY)].texts[0].get_text() for row in (0, 1)]
        unit = gradient_unit(loss.form())
        assert shown == [f"A: {abs(value) / unit:.2f}" for value in (at_a.gradient_n, at_a.gradient_p)]
    with pytest.raises(ValueError, match="points: found 1, expected at least 2"):
        figure_2(points=1)


@pytest.mark.subprocess
def test_matplotlib_is_loaded_only_to_draw():
    script = "import sys, circlet.analyse; print('matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_titles_name_the_numbers():
    assert describe(circlet.CircleLoss(margin=0.4, gamma=80.0)) == r"Circle, m = 0.4, $\gamma$ = 80"
    assert describe(circlet.SoftmaxLoss()) == "Softmax"
    assert describe(circlet.TripletLoss(margin=0.2)) == "Triplet (batch-hard), m = 0.2"


def test_figure_3_shows_a_run_that_diverged_apart_from_its_line():
    runs = {"Arc": [(32, 0.8), (64, float("nan"))], "Circle": [(32, float("nan"))]}
    (axes,) = figure_3(runs, {}, metric="recall@1", data="glyphs").axes
    drawn = [(line.get_label(), line.get_xdata().tolist()) for line in axes.lines]
    assert drawn == [("Arc", [32]), ("Arc: diverged", [64]), ("Circle", []), ("Circle: diverged", [32])]


def test_figures_4_and_5_say_what_was_trained_on():
    lines = [{"step": 20, "loss": 3.0, "s_p": 0.4, "s_n": 0.3}]
    assert (
        figure_4({"Circle": lines}, data="glyphs, 20 steps").axes[0].get_title().startswith("glyphs, 20 steps:\nmean")
    )
    trace = [Hardest(step, np.array([0.5]), np.array([0.1])) for step in (1, 2)]
    figure = figure_5([(FAMILY["circle"], trace)], data="glyphs, 20 steps")
    assert figure.get_suptitle().startswith("glyphs, 20 steps. A dot")


def test_figure_3_draws_each_sweep_in_order():
    figure = figure_3({"Circle, m = 0": [(64, 0.9), (32, 0.8)], "Arc": [(64, 0.7)]}, {"Circle": [(0.2, 0.5)]},
                      metric="recall@1", data="glyphs")  # fmt: skip
    gamma, margin = figure.axes
    assert [line.get_xydata().tolist() for line in gamma.lines] == [[[32, 0.8], [64, 0.9]], [[64, 0.7]]]
    assert (gamma.get_xscale(), margin.get_xscale(), gamma.get_ylabel()) == ("log", "linear", "recall@1")
    assert gamma.lines[0].get_color() == margin.lines[0].get_color() != gamma.lines[1].get_color()
    assert len(figure_3({}, {"a": [(0, 0)]}, metric="mrr", data="x").axes) == 1
    with pytest.raises(ValueError, match="gammas, margins: found no run"):
        figure_3({}, {}, metric="mrr", data="x")


def test_figure_4_takes_lines_with_telemetry():
    lines = [
        {"step": 5, "s_p": 0.3, "s_n": 0.2},
        {"step": 5, "validation_map@r": 1.0},
        {"step": 9, "s_p": 0.6, "s_n": 0.1},
    ]
    (axes,) = figure_4({"Circle": lines}).axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[5, 0.3], [9, 0.6]], [[5, 0.2], [9, 0.1]]]
    with pytest.raises(ValueError, match=r"logs: found no telemetry \(s_p, s_n\) in 'old'"):
        figure_4({"old": [{"step": 5, "loss": 1.0}]})


def test_figure_5_tells_crossing_from_converged():
    m = 0.25
    on_circle = [(2**0.5 * m, 1.0), (m, 1 - m), (0.0, 1 - 2**0.5 * m)]
    trace = [Hardest(step, np.array([0.1, *(p for _, p in on_circle)]), np.array([0.9, *(n for n, _ in on_circle)]))
             for step in range(1, 10)]  # fmt: skip
    trace.append(Hardest(10, np.array([0.9, 0.95]), np.array([0.1, 0.0])))
    (axes,) = figure_5([(circlet.CircleLoss(margin=m, gamma=64.0), trace)]).axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["in the end (2)", "crossing (27)"]
    for wrong in ([], trace[:1]):
        with pytest.raises(ValueError, match=r"runs: found a trace of \d logged steps, expected at least 2"):
            figure_5([(circlet.CircleLoss(), wrong)])
    with pytest.raises(ValueError, match="runs: found none"):
        figure_5([])


def test_distance_is_in_units_of_similarity():
    s_n, s_p = np.array([0.5, 0.0, 0.6]), np.array([0.5, 0.9, 1.0])
    line = distance(circlet.AMSoftmaxLoss(margin=0.35, gamma=64.0).form(), s_n, s_p)
    np.testing.assert_allclose(line, (s_n - s_p + 0.35) / 2**0.5, atol=1e-9)
    near = 1 + 1e-3
    circle = distance(
        circlet.CircleLoss(margin=0.25, gamma=64.0).form(), np.array([0.25 * near]), np.array([1 - 0.25 * near])
    )
    np.testing.assert_allclose(circle, 2**0.5 * 0.25e-3, rtol=1e-2)
