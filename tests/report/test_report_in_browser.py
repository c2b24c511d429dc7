"""The page in a browser: clean, readable on a phone, and its controls work."""

import pytest

from circlet.report import build_report
from tests.browser import until
from tests.report.made_up import HOSTILE, run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(build_report(run(with_gallery=True)).encode())
    return path


def circles(page):
    return page.eval_on_selector_all(
        "#plane-anchors circle:not([visibility=hidden])", "all => all.map(c => Number(c.getAttribute('cx')))"
    )


def frame(page):
    return int(page.input_value("#plane-frame"))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
def test_it_fits_and_is_clean(opened, page_file, width, dark):
    visit = opened(page_file, width=width, dark=dark, touch=width == 360)
    assert visit.fits()
    assert visit.page.title() == "<u>run</u> & more"
    broken = visit.page.eval_on_selector_all("img", "all => all.filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0
    visit.expect_clean()


def test_hostile_names_are_shown_as_they_are(opened, page_file):
    visit = opened(page_file)
    shown = visit.page.eval_on_selector_all("#map-class option", "all => all.slice(1).map(o => o.textContent)")
    assert shown[:-1] == list(HOSTILE[:-1])
    assert visit.page.locator("script").count() == 2
    assert visit.page.locator("img[src=x], u, i").count() == 0
    visit.page.select_option("#map-class", "0")
    assert visit.page.text_content("#map-name") == HOSTILE[0]
    visit.expect_clean()


def test_slider_and_keyboard_move_through_the_steps(opened, page_file):
    visit = opened(page_file)
    page = visit.page
    assert page.text_content("#plane-step") == "step 200"
    last = circles(page)
    page.focus("#plane-frame")
    page.keyboard.press("Home")
    assert page.text_content("#plane-step") == "step 10"
    assert circles(page) != last
    assert len(page.get_attribute("#plane-mean", "points").split()) == 1
    page.keyboard.press("ArrowRight")
    assert (frame(page), page.text_content("#plane-step")) == (1, "step 20")
    assert page.get_attribute("#plane-frame", "aria-valuetext") == "step 20"
    page.keyboard.press("End")
    assert circles(page) == last
    visit.expect_clean()


def test_the_script_draws_what_the_page_came_with(opened, page_file):
    """Without script the last step is there already."""
    written = page_file.read_text().split('id="plane-anchors">')[1].split("</g>")[0]
    expected = [float(part.split('"')[0]) for part in written.split('cx="')[1:] if "hidden" not in part]
    assert circles(opened(page_file).page) == expected


def test_play_runs_to_the_end_and_pauses(opened, page_file):
    visit = opened(page_file)
    page = visit.page
    page.focus("#plane-play")
    page.keyboard.press("Enter")
    assert page.text_content("#plane-play") == "Pause"
    until(page, lambda: frame(page) > 0)
    page.keyboard.press("Space")
    assert page.text_content("#plane-play") == "Play"
    at = frame(page)
    assert 0 < at < 19
    page.wait_for_timeout(700)
    assert frame(page) == at
    page.click("#plane-play")
    until(page, lambda: page.text_content("#plane-play") == "Play")
    assert frame(page) == 19
    visit.expect_clean()


def test_reduced_motion_shows_stills(opened, page_file):
    visit = opened(page_file)
    visit.page.emulate_media(reduced_motion="reduce")
    visit.page.reload()
    visit.page.click("#plane-play")
    visit.page.wait_for_timeout(300)
    assert frame(visit.page) == 0  # each still stays for a second
    until(visit.page, lambda: frame(visit.page) > 0)
    visit.expect_clean()


def test_map_shows_class_and_picture_of_a_point(opened, page_file):
    visit = opened(page_file)
    page = visit.page
    assert page.locator("#map-card").is_hidden()
    page.locator("#map-points").scroll_into_view_if_needed()
    box = page.locator("#map-points circle").nth(9).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator("#map-card").is_visible()
    name = page.text_content("#map-name")
    assert name in HOSTILE
    assert page.locator("#map-points .on").count() == 6
    assert page.input_value("#map-class") == str(HOSTILE.index(name))
    page.select_option("#map-class", "")
    assert page.locator("#map-card").is_hidden()
    assert page.locator("#map-points .on").count() == 0
    visit.expect_clean()


def test_map_by_finger(opened, page_file):
    visit = opened(page_file, width=360, touch=True)
    page = visit.page
    page.locator("#map-points").scroll_into_view_if_needed()
    box = page.locator("#map-points circle").nth(3).bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator("#map-card").is_visible()
    assert visit.fits()
    heights = page.eval_on_selector_all(
        "button, select, input", "all => all.map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 36


def test_every_control_has_a_name(opened, page_file):
    unnamed = opened(page_file).page.eval_on_selector_all(
        "input, select, button", "all => all.filter(e => !e.ariaLabel && !e.labels?.length && !e.textContent).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_lines_stand_out(opened, page_file, dark):
    """Contrast of text at least 4.5 to 1, of lines 3 to 1 (WCAG 2.2 AA)."""
    visit = opened(page_file, dark=dark)
    names = ["--paper", "--ink", "--quiet", "--line", *(f"--c{i}" for i in range(1, 9))]
    script = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())"
    colours = dict(zip(names, visit.page.evaluate(script, names), strict=True))

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    paper = luminance(colours.pop("--paper"))
    for name, colour in colours.items():
        lighter, darker = sorted([paper, luminance(colour)], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= (4.5 if name in ("--ink", "--quiet") else 3.0), name
