"""The site as it is built: strictly, without asking anybody, readable on a desk, on a phone, by a screen reader."""

import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from filelock import FileLock

from docs.hooks.blocks import DOCS
from tests.browser import Visit

pytest.importorskip("mkdocs", reason="pip install 'circlet[docs]'")
pytestmark = [pytest.mark.slow, pytest.mark.subprocess]
FETCHED = re.compile(r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//"""
                     r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*href=["']?(?:https?:)?//"""
                     r"""|@import\s|url\(["']?(?:https?:)?//""")  # fmt: skip
# One page of each kind. Layout depends on the width and contrast on the scheme: two visits show both of each.
PAGES = ("index", "tutorial", "losses", "theory", "report", "commands/circlet-train", "api/training",
         "examples/plain_pytorch", "notebooks/losses", "sample-report")  # fmt: skip
VISITS = [pytest.param(390, "dark", id="phone-dark"), pytest.param(1200, "light", id="desk-light")]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site, built once for all workers of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / "built" / "site"
    with FileLock(shared / "site.lock"):
        if not folder.exists():
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


def test_what_is_in_it(site):
    assert not (site / "hooks").exists()
    for name in ("explorer.html", "sample-report.html", "results/photographs.png", "notebooks/losses.ipynb",
                 "examples/plain_pytorch.py"):  # fmt: skip
        assert (site / name).is_file(), name


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
@pytest.mark.parametrize(("width", "scheme"), VISITS)
@pytest.mark.parametrize("name", PAGES)
def test_pages_in_a_browser(address, chromium, name, width, scheme):
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    visit, wrong = Visit(context.new_page()), []
    watch(visit.page, address, wrong)
    visit.page.goto(f"{address}/{name}.html", wait_until="networkidle")
    assert wrong == []
    assert visit.fits()
    visit.expect_accessible()
    context.close()
