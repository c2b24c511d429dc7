"""Wheel and sdist, built and tried: `make dist`, or `python -m release.dist --python python3.11 ...`.

Builds both into dist/ in environments of their own, and the wheel once more from the checkout: the two wheels must be
the same, byte for byte. Looks into both (`release.contents`) and has twine read their metadata. Then, for each Python,
installs the wheel into an empty environment under the pins of constraints.txt and uses it (`smallest_use.py`), from a
folder that knows no checkout. Ends with an error for whatever is wrong, and with the Pythons that pyproject.toml
declares and nobody tried; uploads nothing. A few minutes, most of them pip's.
"""

import argparse
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from release.brought import ROOT, project
from release.contents import differences, faults_of_sdist, faults_of_wheel, tracked_files

DIST, WORK = ROOT / "dist", ROOT / "build" / "release"


def declared(table: dict[str, list[str]]) -> list[str]:
    """The Pythons that pyproject.toml says circlet runs on, such as "3.11"."""
    return [line.rpartition(" ")[2] for line in table["classifiers"] if "Python :: 3." in line]


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run it; what it printed is ours where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}")


def empty_environment(python: str, folder: Path) -> Path:
    """A new virtual environment of that Python with nothing in it; its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    if python == sys.executable:
        venv.create(folder, with_pip=True)
    else:
        run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def built() -> tuple[Path, Path]:
    """The wheel and the sdist, new in dist/."""
    tools = empty_environment(sys.executable, WORK / "tools")
    run(tools, "-m", "pip", "install", "--quiet", "-r", ROOT / "release" / "requirements.txt")
    for folder in (DIST, WORK / "direct"):
        shutil.rmtree(folder, ignore_errors=True)
    run(tools, "-m", "build", "--outdir", DIST, ROOT)  # the sdist, and the wheel from it
    run(tools, "-m", "build", "--wheel", "--outdir", WORK / "direct", ROOT)
    ((wheel,), (sdist,), (direct,)) = (
        list(folder.glob(name)) for folder, name in ((DIST, "*.whl"), (DIST, "*.tar.gz"), (WORK / "direct", "*.whl"))
    )
    tracked = tracked_files(ROOT)
    faults = faults_of_wheel(wheel, tracked) + faults_of_sdist(sdist, tracked)
    faults += [f"{name}: not the same in the wheel that is built from the sdist" for name in differences(direct, wheel)]
    if faults:
        raise SystemExit("\n".join(faults))
    run(tools, "-m", "twine", "check", "--strict", wheel, sdist)
    return wheel, sdist


def tried(wheel: Path, python: str) -> str:
    """Install and use the wheel with that Python; its version, such as "3.11"."""
    name = Path(python).name if python != sys.executable else "this"
    inside = empty_environment(python, WORK / f"empty-{name}")
    run(inside, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    script = shutil.copy(ROOT / "release" / "smallest_use.py", WORK)
    done = subprocess.run([inside, "-P", script], cwd=WORK, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python}: the installed wheel does not work\n{done.stdout}{done.stderr}")
    print(done.stdout.strip(), flush=True)
    version = subprocess.run([inside, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                             text=True, capture_output=True, check=True)  # fmt: skip
    return version.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, look, install, use."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="*", help="the Pythons to try; by default those that are declared and here")
    given = parser.parse_args(arguments).python
    wanted = declared(project())
    pythons = (
        given or [f"python{version}" for version in wanted if shutil.which(f"python{version}")] or [sys.executable]
    )
    wheel, sdist = built()
    for path in (wheel, sdist):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 2**20:.2f} MiB", flush=True)
    versions = [tried(wheel, python) for python in pythons]
    if untried := set(wanted) - set(versions):
        raise SystemExit(f"pyproject.toml declares Python {', '.join(sorted(untried))}, which nobody tried here")


if __name__ == "__main__":
    main()
