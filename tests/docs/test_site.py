"""The site as it is built: strictly, without asking anybody, readable in a browser."""

import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from docs.hooks.blocks import DOCS

pytest.importorskip("mkdocs", reason="pip install 'circlet[docs]'")
pytestmark = [pytest.mark.slow, pytest.mark.subprocess]
FETCHED = re.compile(r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//"""
                     r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*href=["']?(?:https?:)?//"""
                     r"""|@import\s|url\(["']?(?:https?:)?//""")  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=DOCS.parent, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_nothing_is_fetched_from_elsewhere(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        found = FETCHED.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(site)}: {found and found.group()}"


def test_hooks_are_no_part_of_it(site):
    assert not list(site.rglob("*.py"))
    assert (site / "explorer.html").is_file()
    assert (site / "results" / "photographs.png").is_file()


@pytest.fixture(scope="module")
def address(site):
    """The site as a server gives it; its search is fetched, which browsers refuse for files."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *arguments):
        pass


def watch(page, address, wrong):
    """Keep errors, and requests to anybody else."""
    own = (address, "data:", "blob:")
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_in_a_browser(address, chromium, scheme):
    for name in ("index", "theory", "audit", "api/evaluate", "commands/circlet-train"):
        for width in (360, 1200):
            context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page, wrong = context.new_page(), []
            watch(page, address, wrong)
            page.goto(f"{address}/{name}.html", wait_until="networkidle")
            assert wrong == [], f"{name} at {width}"
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            context.close()
