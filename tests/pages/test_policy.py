"""The content security policy of every page: it lets the page's own style and script work, and nothing else."""

import base64
import hashlib
import re
import socket

import pytest

from tests.pages.kinds import KINDS
from tests.pages.parsed import Parsed

NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module", params=KINDS)
def page(request):
    return KINDS[request.param](NAMES)


@pytest.fixture
def page_file(page, tmp_path):
    (tmp_path / "page.html").write_bytes(page.encode())
    return tmp_path / "page.html"


def digests(page, element):
    """Of the texts of an element without attributes."""
    texts = re.findall(f"<{element}>(.*?)</{element}>", page, re.S)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]


def test_policy_names_the_own_style_and_script_and_nothing_else(page):
    scripts = digests(page, "script")
    assert Parsed(page).policy == {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "style-src": digests(page, "style"),
        **({"script-src": scripts} if scripts else {}),
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert len(digests(page, "style")) == 1
    assert len(scripts) <= 1


def test_policy_comes_before_what_it_is_about(page):
    assert page.index("Content-Security-Policy") < page.index("<title") < page.index("<style")


def test_nothing_is_written_that_the_policy_forbids(page):
    elements = Parsed(page).elements
    attributes = {name for _, own in elements for name in own}
    assert (
        not {name for name in attributes if name.startswith("on")} | {"style", "href", "srcset", "action"} & attributes
    )
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in elements}
    assert all(own["src"].startswith("data:image/") for _, own in elements if "src" in own)
    text = "".join(re.findall(r"<(?:style|script)>.*?</(?:style|script)>", page, re.S))
    assert not re.search(r"@import|url\(|innerHTML|\beval\b|\bfetch\(|https?://(?!www\.w3\.org)", text)


def test_page_is_whole_and_no_template(page):
    assert page.startswith("<!doctype html>\n<html lang=")
    assert page.endswith("</html>\n")
    body = page[page.index("<body>") :].split("<script")[0]
    assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#", body)


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_styled_fits_and_is_clean(opened, page_file, width, dark):
    visit = opened(page_file, width=width, dark=dark, touch=width == 360)
    assert visit.page.evaluate("getComputedStyle(document.body).maxWidth.endsWith('px')")
    assert visit.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"
    broken = visit.page.eval_on_selector_all("img", "all => all.filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0
    assert visit.fits()
    visit.expect_clean()
    visit.expect_accessible()


INJECTED = """(address) => {
  document.body.insertAdjacentHTML("beforeend",
    `<img src='${address}/x.png' onerror='window.ran = 1'><div onclick='window.ran = 1' id=trap>t</div>
     <p id=styled style='max-width: 7px'>t</p><iframe src='data:text/html,x'></iframe>`);
  document.getElementById("trap").click();
  document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = 1" }));
}"""


@pytest.mark.browser
def test_injected_markup_could_not_reach_the_network_or_run(opened, page_file):
    """The second wall: even if something got through, the policy stops it."""
    visit = opened(page_file)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        visit.page.evaluate(INJECTED, f"http://127.0.0.1:{server.getsockname()[1]}")
        visit.page.wait_for_timeout(100)
        with pytest.raises(TimeoutError):  # nobody came
            server.accept()
    assert visit.page.evaluate("window.ran") is None
    assert visit.page.evaluate("getComputedStyle(document.getElementById('styled')).maxWidth") != "7px"
    stopped = {text.split()[0] for text in visit.violations}
    assert stopped == {"img-src", "script-src-attr", "script-src-elem", "style-src-attr", "frame-src"}
    assert visit.console
    assert all("Content Security Policy" in text for text in visit.console)
