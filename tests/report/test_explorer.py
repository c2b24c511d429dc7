"""The explorer in a browser: the numbers of autograd, and a page that works by mouse, keyboard and finger."""

import math
import re

import numpy as np
import pytest
import torch

import circlet
from circlet import Form, PairLoss, aggregate, rules
from circlet.analyse.boundary import decision
from circlet.analyse.decision_plane import at_point, decisions
from circlet.losses import all_losses
from circlet.losses.hyper_parameters import Margin, Temperature
from circlet.report import explorer
from circlet.report.explorer import build_explorer, offered
from tests.analyse.family import FAMILY
from tests.browser import until
from tests.thorough import THOROUGH

SHOWN = {name: loss for name, loss in all_losses().items() if isinstance(offered.offer(loss), offered.Offered)}


class NewLoss(PairLoss):
    """A loss that nobody knows, of words that are known."""

    title = "Aardvark"

    temperature: float = Temperature(default=0.125, text="of a new kind")
    threshold: float = Margin(default=0.4, low=0.1, high=0.6)

    def form(self):
        rule = rules.TwoScales(2 / self.temperature, 3 / self.temperature, 1 - self.threshold)
        return Form(rule, aggregate.SeparateSoftplus(self.temperature, 1.0), positives="mean_active", contrast="all")


@pytest.fixture
def page_file(tmp_path):
    path = tmp_path / "explorer.html"
    path.write_text(build_explorer(), encoding="utf-8")
    return path


def test_page_is_self_contained():
    page = build_explorer()
    assert not re.search(r"(?:src|href|@import|url\()\s*=?\s*[\"']?(?!#)(?:https?:|//)", page)
    assert not re.search(r"<(?:link|iframe|img)\b|\bfetch\(|XMLHttpRequest", page)
    assert len(page) < 60_000


def test_circle_comes_first_and_then_the_alphabet():
    titles = re.findall(r"<option[^>]*>(.*?)</option>", build_explorer())
    assert titles[0] == "Circle"
    assert titles[1:] == sorted(titles[1:], key=str.casefold)
    assert len(titles) == len(SHOWN)


def random_settings(loss, rng):
    """Hyper-parameters from all over their sliders."""
    return {
        slider.name: float(
            np.exp(rng.uniform(*np.log([slider.low, slider.high])))
            if slider.logarithmic
            else rng.uniform(slider.low, slider.high)
        )
        for slider in offered.offer(loss).sliders
    }


def expect_numbers_of_the_library(visit, kind, rng):
    """Loss, gradients, weights and boundary of a loss at its default and other settings, all over the plane."""
    script = """([name, own, points]) => points.map(([n, p]) => circletEvaluate(
        JSON.parse(document.getElementById("data").textContent).losses.find((l) => l.name === name), own, n, p))"""
    for own in (
        {s.name: s.start for s in offered.offer(kind).sliders},
        *(random_settings(kind, rng) for _ in range(5 if THOROUGH else 1)),
    ):
        loss = kind(**own)
        form = loss.form()
        points = [
            *rng.uniform(-1, 1, (30 if THOROUGH else 8, 2)).tolist(),
            [0.8, 0.8],
            [-0.3, 0.9],
            [0.0, 0.0],
            [1.0 - 1e-9, 0.9999],  # nearer to 1 the library does not go
        ]
        for (s_n, s_p), found in zip(points, visit.page.evaluate(script, [kind.name, own, points]), strict=True):
            at = (kind.name, own, s_n, s_p)
            expected = at_point(loss, s_n, s_p)
            for name in ("loss", "gradient_n", "gradient_p"):
                assert found[name] == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-6), (*at, name)
            n, p = torch.tensor([s_n, s_p], dtype=torch.float64)
            assert found["decision"] == pytest.approx(decision(form, n, p).item(), rel=1e-6, abs=1e-6), at
            assert found["alpha_n"] == pytest.approx((form.rule.negative_slope(n) / form.rule.scales[1]).item())
            assert found["alpha_p"] == pytest.approx((-form.rule.positive_slope(p) / form.rule.scales[0]).item())


@pytest.mark.browser
def test_numbers_are_those_of_the_library(opened, page_file):
    visit = opened(page_file)
    rng = np.random.default_rng(0)
    for kind in SHOWN.values():
        expect_numbers_of_the_library(visit, kind, rng)
    visit.expect_clean()


@pytest.mark.browser
def test_a_new_loss_appears_with_its_sliders_and_numbers(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "all_losses", lambda: {**all_losses(), NewLoss.name: NewLoss})
    (tmp_path / "explorer.html").write_text(build_explorer(), encoding="utf-8")
    visit = opened(tmp_path / "explorer.html")
    assert visit.page.text_content("#loss option:nth-child(2)") == "Aardvark"
    visit.page.select_option("#loss", "new")
    script = "all => all.map(i => [i.name, +i.min, +i.max, i.ariaLabel])"
    (_, low, high, said), bounded = visit.page.eval_on_selector_all("#settings input[type=range]", script)
    assert (2**low, 2**high) == pytest.approx((0.125 / 32, 0.125 * 32))
    assert said == "temperature τ of a new kind"
    assert bounded == ["threshold", 0.1, 0.6, "threshold in units of cosine similarity"]
    expect_numbers_of_the_library(visit, NewLoss, np.random.default_rng(1))
    visit.page.focus("#slider-temperature")
    visit.page.keyboard.press("End")
    assert visit.page.input_value("#number-temperature") == "4"
    assert visit.page.get_attribute("#slider-temperature", "aria-valuetext") == "4"
    shown = float(visit.page.text_content("#loss-value"))
    assert shown == pytest.approx(at_point(NewLoss(temperature=4.0), 0.8, 0.8).loss, rel=1e-3)
    visit.expect_clean()


@pytest.mark.browser
def test_the_words_of_the_script_are_those_that_losses_are_chosen_by(opened, page_file):
    page = opened(page_file).page
    words = page.evaluate("Object.fromEntries(Object.entries(circletWords).map(([k, v]) => [k, Object.keys(v)]))")
    assert words["rules"] == [rule.__name__ for rule in offered.RULES]
    assert sorted(words["statistics"]) == sorted(offered.STATISTICS)
    assert words["aggregates"] == [one.__name__ for one in offered.AGGREGATES]


@pytest.mark.browser
def test_descent_ends_past_the_boundary_and_follows_the_gradient(opened, page_file):
    visit = opened(page_file)
    own = {"margin": 0.25, "gamma": 256.0}
    path = visit.page.evaluate("own => circletDescend('circle', own, 0.8, 0.5)", own)
    point = at_point(FAMILY["circle"], 0.8, 0.5)
    (n0, p0), (n1, p1) = path[:2]
    assert (p1 - p0) / (n1 - n0) == pytest.approx(point.gradient_p / point.gradient_n, rel=1e-6)
    end_n, end_p = path[-1]
    assert math.hypot(end_n, 1 - end_p) < math.sqrt(2) * 0.25
    visit.expect_clean()


@pytest.mark.browser
def test_angles_of_arcface_are_not_negative_as_in_the_library(opened, page_file):
    page = opened(page_file).page
    page.fill("#number-margin", "-0.5")
    valid = "document.querySelector('#number-margin').checkValidity()"
    assert page.evaluate(valid)  # a cosine margin of Circle
    page.select_option("#loss", circlet.ArcFaceLoss.name)
    page.fill("#number-margin", "-0.5")
    assert not page.evaluate(valid)
    page.fill("#number-margin", "0")
    assert page.evaluate(valid)


@pytest.mark.browser
def test_keyboard_mouse_and_number_inputs_move_the_point(opened, page_file):
    visit = opened(page_file)
    page = visit.page
    label = lambda: page.get_attribute("#point", "aria-label")  # noqa: E731
    assert label().startswith("s_n 0.80, s_p 0.80, loss 142.08")
    page.focus("#point")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert label().startswith("s_n 0.79, s_p 0.70")
    page.fill("#number-s_n", "0.3")
    assert label().startswith("s_n 0.30, s_p 0.70")
    box = page.locator("#point .dot").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] - 2000, steps=4)
    page.mouse.up()
    assert "s_p 1.00" in label()  # held inside the plane
    page.fill("#number-s_n", "7")  # not a cosine: marked, not taken
    assert page.evaluate("document.querySelector('#number-s_n').matches(':invalid')")
    assert "s_p 1.00" in label()
    until(page, lambda: "s_p 1.00" in page.text_content("#spoken"))
    visit.expect_clean()


@pytest.mark.browser
def test_choosing_a_loss_shows_its_settings_and_numbers(opened, page_file):
    visit = opened(page_file)
    page = visit.page
    for name, kind in SHOWN.items():
        page.select_option("#loss", name)
        shown = page.eval_on_selector_all("#settings input[type=number]", "all => all.map(i => [i.name, +i.value])")
        idle = {name: kind.declared[name].default for name in offered.offer(kind).idle}
        assert dict(shown) | idle == pytest.approx(kind().hyper_parameters, rel=1e-5), name
        assert all(number in page.text_content("#settings") for number in idle)
        value = float(page.text_content("#loss-value"))
        assert value == pytest.approx(at_point(kind(), 0.8, 0.8).loss, rel=1e-3, abs=1e-9), name
        values = decisions(kind().form(), np.linspace(-0.4, 1, 97), np.linspace(-0.4, 1, 97))
        if not 0 < (values <= 0).mean() < 0.02:  # squares have no boundary, some hinges have it at the plane's edge
            assert page.get_attribute("#boundary", "d").startswith("M") == (values.min() <= 0), name
    page.select_option("#loss", "circle")
    before = page.get_attribute("#boundary", "d")
    page.fill("#number-margin", "0.4")
    assert page.get_attribute("#boundary", "d") != before
    page.click("#reset")
    assert page.get_attribute("#boundary", "d") == before
    visit.expect_clean()


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(opened, page_file, dark):
    visit = opened(page_file, width=360, height=740, dark=dark, touch=True)
    assert visit.fits()
    box = visit.page.locator("#stage").bounding_box()
    visit.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert not visit.page.get_attribute("#point", "aria-label").startswith("s_n 0.80, s_p 0.80")
    controls = visit.page.eval_on_selector_all(
        "button, select, input[type=number]", "all => all.map(e => e.getBoundingClientRect().height)"
    )
    assert min(controls) >= 36
    visit.expect_clean()


@pytest.mark.browser
def test_every_control_has_a_name(opened, page_file):
    visit = opened(page_file)
    unnamed = visit.page.eval_on_selector_all(
        "input, select, button", "all => all.filter(e => !e.ariaLabel && !e.labels?.length && !e.textContent).length"
    )
    assert unnamed == 0


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_text_and_lines_stand_out(opened, page_file, dark):
    """Contrast of text at least 4.5 to 1, of lines 3 to 1 (WCAG 2.2 AA), on the plain background."""
    visit = opened(page_file, dark=dark)
    script = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())"
    names = ["--paper", "--ink", "--quiet", "--boundary", "--path", "--pull-n", "--pull-p", "--arrow", "--line"]
    colours = dict(zip(names, visit.page.evaluate(script, names), strict=True))

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    paper = luminance(colours.pop("--paper"))
    for name, colour in colours.items():
        lighter, darker = sorted([paper, luminance(colour)], reverse=True)
        least = 4.5 if name in ("--ink", "--quiet") else 3.0
        assert (lighter + 0.05) / (darker + 0.05) >= least, name
