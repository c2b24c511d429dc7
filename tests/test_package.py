"""The package as a whole: what the README promises, what is exported, what is installed."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

import circlet
from circlet.cli import VERBS
from circlet.losses.table import markdown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_public_name_loads_and_is_typed():
    source = (ROOT / "src" / "circlet" / "__init__.py").read_text()
    checked = source[source.index("TYPE_CHECKING:") : source.index("__version__")]
    stub = (ROOT / "src" / "circlet" / "losses" / "__init__.pyi").read_text()
    for name in circlet.__all__:
        assert getattr(circlet, name) is not None
        of_losses = hasattr(
            circlet.losses, name
        )  # a new loss needs no line there, but is Any for type checkers without
        assert of_losses or re.search(rf"\b{name}\b", checked), f"{name} is not in the TYPE_CHECKING block"
    for name in re.findall(r" as (\w+)$", stub, flags=re.MULTILINE):
        assert hasattr(circlet.losses, name), f"{name} is in the stub of circlet.losses alone"
    assert set(dir(circlet)) == set(circlet.__all__)
    with pytest.raises(AttributeError, match="no attribute 'CircleLos'"):
        circlet.CircleLos  # noqa: B018


@pytest.mark.subprocess  # a run decodes its images in workers
def test_readme_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("circlet.report.embedding_map.MAX_POINTS", 50)  # a thousand take seconds
    names = ["photos/ant/1.jpg", "photos/ant/2.jpg", "photos/bee/1.jpg", "photos/bee/2.jpg", "query.jpg"]
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 20 + 40 * number).convert("RGB").save(path)
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})


def test_readme_shows_every_verb_and_losses_that_there_are():
    for verb in VERBS:
        assert f"circlet {verb} " in README
    for name in re.findall(r"`(\w+Loss)`", README):
        assert hasattr(circlet, name)


def test_readme_shows_the_losses_as_they_are():
    rows = README[README.index("<!-- begin losses -->") : README.index("<!-- end losses -->")]
    shown = [line for line in rows.splitlines() if line.startswith("| `")]
    found = markdown(list(circlet.losses.all_losses().values())).splitlines()
    assert len(shown) > 10
    assert set(shown) <= set(found)  # a new loss may wait for the next circlet recipes losses --markdown


def test_readme_map_is_true():
    listed = set(re.findall(r"^  (\w+(?:\.py|/)) ", README, flags=re.MULTILINE))
    package = ROOT / "src" / "circlet"
    there = {p.name + ("/" if p.is_dir() else "") for p in package.iterdir() if not p.name.startswith(("_", "."))}
    assert listed == there - {"py.typed"}


def test_readme_quotes_the_results_as_generated():
    for name, text in re.findall(r"<!-- begin (\S+\.md) -->\n(.*?)<!-- end \1 -->", README, flags=re.DOTALL):
        assert text == (ROOT / name).read_text(encoding="utf-8"), f"README differs from {name}"
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_every_module_says_what_it_is():
    for path in (ROOT / "src" / "circlet").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        if not name.endswith("__main__"):
            assert import_module(name).__doc__, name


@pytest.mark.subprocess
def test_installed_package_is_whole(tmp_path):
    """The built wheel, not the checkout: typed, with its command, and nothing of the tests."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    source = ROOT / "src" / "circlet"
    for path in source.rglob("*"):  # scripts and styles of the pages too
        if path.is_file() and "__pycache__" not in path.parts:
            assert (tmp_path / "circlet" / path.relative_to(source)).is_file(), path
    assert (tmp_path / "bin" / "circlet").is_file()
    assert not (tmp_path / "tests").exists()
    script = "import sys; sys.path.insert(0, sys.argv[1]); import circlet; print(circlet.__file__, circlet.CosFace)"
    out = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert out.stdout.startswith(str(tmp_path))
    assert "AMSoftmaxLoss" in out.stdout
