"""The explorer in a browser: the numbers of autograd, and a page that works by mouse, keyboard and finger."""

import math
import re

import numpy as np
import pytest
import torch

from circlet.analyse.boundary import decision
from circlet.analyse.decision_plane import at_point
from circlet.report.explorer import CHOICES, build_explorer
from tests.analyse.family import FAMILY
from tests.browser import until

SETTINGS = {
    "margin": [-0.2, 0.0, 0.25, 0.4, 1.0],
    "gamma": [1.0, 32.0, 256.0],
    "temperature": [0.07, 0.5],
    "alpha": [2.0, 10.0],
    "beta": [50.0, 5.0],
    "base": [0.5, 0.1],
}


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


def test_every_loss_of_the_family_is_offered():
    assert {choice.key for choice in CHOICES} == FAMILY.keys()


def hyper_parameters(choice, seed):
    rng = np.random.default_rng(seed)
    chosen = {name: float(rng.choice(SETTINGS[name])) for name in choice.loss.hyper_parameters}
    if choice.key == "arcface":
        chosen["margin"] = abs(chosen["margin"])
    return chosen


@pytest.mark.browser
def test_numbers_are_those_of_the_library(opened, page_file):
    visit = opened(page_file)
    rng = np.random.default_rng(0)
    for choice in CHOICES:
        for seed in range(6):
            own = hyper_parameters(choice, seed) if seed else choice.loss.hyper_parameters
            loss = type(choice.loss)(**own)
            form = loss.form()
            points = [*rng.uniform(-1, 1, (30, 2)).tolist(), [0.8, 0.8], [-0.3, 0.9], [0.0, 0.0], [1.0, 0.9999]]
            script = "([name, own, points]) => points.map(([n, p]) => circletEvaluate(name, own, n, p))"
            for (s_n, s_p), found in zip(points, visit.page.evaluate(script, [choice.key, own, points]), strict=True):
                at = (choice.key, own, s_n, s_p)
                expected = at_point(loss, s_n, s_p)
                for name in ("loss", "gradient_n", "gradient_p"):
                    assert found[name] == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-6), (*at, name)
                n, p = torch.tensor([s_n, s_p], dtype=torch.float64)
                assert found["decision"] == pytest.approx(decision(form, n, p).item(), rel=1e-6, abs=1e-6), at
                assert found["alpha_n"] == pytest.approx((form.rule.negative_slope(n) / form.rule.scales[1]).item())
                assert found["alpha_p"] == pytest.approx((-form.rule.positive_slope(p) / form.rule.scales[0]).item())
    visit.expect_clean()


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
    page.select_option("#loss", "arcface")
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
    for choice in CHOICES:
        page.select_option("#loss", choice.key)
        shown = page.eval_on_selector_all("#settings input[type=number]", "all => all.map(i => [i.name, +i.value])")
        assert dict(shown) == pytest.approx(choice.loss.hyper_parameters, rel=1e-5), choice.key
        value = float(page.text_content("#loss-value"))
        assert value == pytest.approx(at_point(choice.loss, 0.8, 0.8).loss, rel=1e-3, abs=1e-9), choice.key
        assert page.get_attribute("#boundary", "d").startswith("M"), choice.key
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
