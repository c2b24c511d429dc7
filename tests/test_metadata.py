"""What is said of the package outside its code: the version in one place, only what was tried, who to cite."""

import re
import tomllib
from pathlib import Path

import pytest

import circlet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))

# The fields of version 1.2.0 of the Citation File Format, as far as one may need them here.
OF_FILE = {"cff-version", "message", "type", "title", "abstract", "version", "license", "authors", "keywords", "url"}
OF_FILE |= {"references", "date-released", "repository-code", "doi", "identifiers", "preferred-citation"}
OF_REFERENCE = {"type", "title", "authors", "collection-title", "conference", "year", "month", "pages", "start", "end"}
OF_REFERENCE |= {"identifiers", "doi", "url", "abstract", "publisher"}
OF_PERSON = {"given-names", "family-names", "name-particle", "name-suffix", "orcid", "affiliation", "email"}


def test_the_version_is_said_once():
    """By circlet.__version__; the others take it from there. CITATION.cff cannot, and the changelog is history."""
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    package = ROOT / "src" / "circlet"
    texts = [*package.rglob("*.py"), *package.rglob("*.html"), *(ROOT / "examples").glob("*.py")]
    texts += [ROOT / name for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "Makefile")]
    said = [
        path for path in texts if re.search(rf"(?<![\d.]){re.escape(circlet.__version__)}(?![\d.])", path.read_text())
    ]
    assert said == [package / "__init__.py"]
    assert f"## {circlet.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_only_what_was_tried_is_declared():
    """No Python but that of the tests, no PyTorch below the pinned one."""
    pythons = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert pythons == ["3.11"]
    assert PROJECT["requires-python"] == ">=3.11"
    (floor,) = (line.removeprefix("torch>=") for line in PROJECT["dependencies"] if line.startswith("torch>="))
    assert PINS["torch"].startswith(f"{floor}.")


def test_every_tool_of_the_tests_is_pinned():
    extra = [re.match(r"[\w-]+", line)[0] for line in PROJECT["optional-dependencies"]["test"]]
    pinned = {name.lower() for name in PINS}
    assert {name.lower() for name in extra} - pinned == {"circlet"}


def test_citation():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.keys() <= OF_FILE
    assert citation["cff-version"] == "1.2.0"
    assert (citation["title"], citation["type"]) == ("circlet", "software")
    assert citation["version"] == circlet.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["message"]
    assert citation["authors"]
    (paper,) = citation["references"]
    assert paper.keys() <= OF_REFERENCE
    assert all(author.keys() <= OF_PERSON for author in paper["authors"])
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    assert names == [
        *("Yifan Sun", "Changmao Cheng", "Yuhan Zhang", "Chi Zhang", "Liang Zheng", "Zhongdao Wang", "Yichen Wei"),
    ]
    assert paper["title"] == "Circle Loss: A Unified Perspective of Pair Similarity Optimization"
    assert paper["year"] == 2020
    assert "2002.10857" in paper["url"]
