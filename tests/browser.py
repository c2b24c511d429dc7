"""A headless Chromium for tests of pages (marker `browser`): opens files and keeps what went wrong.

@pytest.mark.browser
def test_page(opened, tmp_path):
    visit = opened(tmp_path / "page.html", width=360)
    assert visit.page.title() == "..."
    visit.expect_clean()
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Visit:
    """An open page, and its console errors, uncaught exceptions and requests that left the machine's files."""

    page: Any
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def expect_clean(self) -> None:
        """Nothing on the console, no exception, no network."""
        assert (self.console, self.errors, self.requests) == ([], [], [])

    def fits(self) -> bool:
        """The page can be read without scrolling sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.fixture(scope="session")
def chromium():
    """The browser; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """A function that opens a file in a fresh context: opened(path, width=, height=, dark=, touch=) -> Visit."""
    contexts = []

    def visit(path: Path, *, width: int = 1100, height: int = 900, dark: bool = False, touch: bool = False) -> Visit:
        scheme = "dark" if dark else "light"
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=touch, is_mobile=touch
        )
        contexts.append(context)
        seen = Visit(context.new_page())
        seen.page.on("console", lambda message: seen.console.append(message.text) if message.type == "error" else None)
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:", "blob:")) else seen.requests.append(request.url)
            ),
        )
        seen.page.goto(path.resolve().as_uri())
        return seen

    yield visit
    for context in contexts:
        context.close()
