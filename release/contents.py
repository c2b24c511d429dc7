"""What may be in the wheel and the sdist, and what must: nothing that git does not know, no tests in the wheel."""

import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

NEVER = {"__pycache__", ".venv", ".git", "runs", "build", "dist", ".DS_Store"}
IN_SDIST = ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "pyproject.toml",
            "Makefile", "constraints.txt", "conftest.py", "src/circlet/__init__.py", "tests/test_package.py",
            "examples/own_loss.py", "docs/index.md")  # fmt: skip
MOST_MIB = 10
"""Of an archive: weights are a package of their own, and of data there is what the tests compare with."""


def faults_of_wheel(wheel: Path, tracked: set[str]) -> list[str]:
    """What is wrong with a wheel, in words. tracked: the files that git knows, by path from the root."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        metadata = BytesParser().parsebytes(archive.read(f"{info}/METADATA"))
    package = {name for name in names if not name.startswith(f"{info}/")}
    source = {name.removeprefix("src/") for name in tracked if name.startswith("src/circlet/")}
    faults = [f"{name}: found in the wheel, not in git" for name in sorted(package - source)]
    faults += [f"{name}: found in git, not in the wheel" for name in sorted(source - package)]
    faults += [f"{name}: not in the wheel" for name in _missing(names, f"{info}/licenses/LICENSE", "circlet/py.typed")]
    if metadata["License-Expression"] != "MIT" or metadata.get_all("License-File") != ["LICENSE"]:
        faults.append("METADATA: found no MIT licence with its file")
    if metadata["Description-Content-Type"] != "text/markdown":
        faults.append("METADATA: found no README as its description")
    return faults + _too_large(wheel)


def faults_of_sdist(sdist: Path, tracked: set[str]) -> list[str]:
    """What is wrong with an sdist, in words."""
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
    faults = [f"{member.name}: found a link or a device" for member in members if not member.isfile()]
    names = {member.name.partition("/")[2] for member in members}
    faults += [f"{name}: found in the sdist, not in git" for name in sorted(names - tracked - {"PKG-INFO"})]
    faults += [f"{name}: found in the sdist" for name in sorted(names) if NEVER & set(PurePosixPath(name).parts)]
    return faults + [f"{name}: not in the sdist" for name in _missing(names, *IN_SDIST)] + _too_large(sdist)


def differences(wheel: Path, other: Path) -> list[str]:
    """In what two wheels differ, file by file; those that are the same have none."""
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(other) as two:
        names = set(one.namelist()) | set(two.namelist())
        both = set(one.namelist()) & set(two.namelist())
        return sorted((names - both) | {name for name in both if one.read(name) != two.read(name)})


def tracked_files(root: Path) -> set[str]:
    """The files that git knows in a checkout, and those that it would take."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return {name for name in found if name and (root / name).exists()}


def _missing(names: Iterable[str], *wanted: str) -> list[str]:
    return [name for name in wanted if name not in set(names)]


def _too_large(path: Path) -> list[str]:
    size = path.stat().st_size / 2**20
    return [f"{path.name}: found {size:.1f} MiB, expected at most {MOST_MIB}"] if size > MOST_MIB else []
