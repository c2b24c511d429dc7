"""A headless Chromium for tests of pages (marker `browser`): opens files and keeps what went wrong.

@pytest.mark.browser
def test_page(opened, tmp_path):
    visit = opened(tmp_path / "page.html", width=360)
    assert visit.page.title() == "..."
    visit.expect_clean()
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
"""


@dataclass
class Visit:
    """An open page, with what went wrong in it: errors and warnings on the console, uncaught exceptions, requests that
    left the machine's files, and dialogs, which none of our pages opens.
    """

    page: Any
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """What the content security policy has stopped: directive and address."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def expect_clean(self) -> None:
        """Nothing on the console, no exception, no network, no dialog, nothing that the policy had to stop."""
        assert (self.console, self.errors, self.requests, self.dialogs, self.violations) == ([], [], [], [], [])

    def expect_accessible(self) -> None:
        """No rule of axe-core is broken: names, contrast, landmarks, headings, what the keyboard reaches."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        if found:
            raise AssertionError(
                [(rule["id"], rule["help"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
            )

    def fits(self) -> bool:
        """The page can be read without scrolling sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def until(page: Any, true: Callable[[], bool]) -> None:
    """Wait for it; Playwright's own waiting evaluates strings, which the policy of our pages forbids."""
    for _ in range(400):
        if true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("waited 20 seconds")


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
        context.add_init_script(WATCH)
        seen = Visit(context.new_page())
        bad = ("error", "warning")
        seen.page.on("console", lambda message: seen.console.append(message.text) if message.type in bad else None)
        seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
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
