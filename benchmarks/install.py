"""How large an installation is: `python -m benchmarks.install` writes results/install.md.

The sizes of all files that pip has written for circlet and for what it requires, bytecode too, as installed here: run
it where all extras are, as after `make test`. Without PyTorch and what PyTorch itself requires, which everybody who
comes here has. What an extra adds is counted against the core. `--check PYTHON` measures the site-packages of an
environment that has circlet and nothing else instead, to see whether the sum is right.
"""

import argparse
import marshal
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement

from circlet.files import write_text
from release.brought import ROOT, Brought, brought, direct, extras, project

RESULT = ROOT / "benchmarks" / "results" / "install.md"
WANTED_MB = 200


def size_of(package: Distribution) -> int:
    """Bytes of the files of a distribution that are there."""
    paths = {Path(str(package.locate_file(file))) for file in package.files or ()}
    sources = [path for path in paths if path.suffix == ".py"]
    paths |= {path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc" for path in sources}
    return sum(path.stat().st_size for path in paths if path.is_file())


def own_size() -> int:
    """Bytes of circlet itself as the wheel has it, with the bytecode that pip makes of it."""
    files = [path for path in (ROOT / "src" / "circlet").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    sources = [path for path in files if path.suffix == ".py"]
    bytecode = sum(len(marshal.dumps(compile(path.read_bytes(), str(path), "exec"))) + 16 for path in sources)
    return sum(path.stat().st_size for path in files) + bytecode


def sizes(found: Brought, without: Brought) -> dict[str, int]:
    """The size of each, the largest first, less those of another list."""
    names = [name for name in found.there if name not in without.there]
    return dict(sorted(((name, size_of(found.there[name])) for name in names), key=lambda item: -item[1]))


def table() -> str:
    """The page."""
    about = project()
    torch = brought([Requirement("torch")])
    core = brought(direct(about))
    parts = {"circlet": own_size(), **sizes(core, torch)}
    total = sum(parts.values())
    lines = ["| installed | beside PyTorch, MB | of which |", "| --- | ---: | --- |",
             f"| `circlet` | {total / 1e6:.1f} | {_named(parts)} |"]  # fmt: skip
    for extra in extras(about):
        added = sizes(brought(direct(about, extra)), core)
        lines.append(f"| `circlet[{extra}]` | + {sum(added.values()) / 1e6:.0f} | {_named(added)} |")
    versions = ", ".join(f"{name} {core.there[name].version}" for name in ("torch", "numpy", "matplotlib"))
    return "\n".join(lines) + f"\n\nWanted: at most {WANTED_MB} MB without extras. MB are 10^6 bytes. {versions}.\n"


def _named(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {size / 1e6:.0f}" for name, size in parts.items() if size >= 1e6)


def measured(python: str) -> str:
    """What lies in the site-packages of that environment, without PyTorch and what it requires."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip()
    names = {name.replace("-", "_") for name in brought([Requirement("torch")]).there}
    names |= {"functorch", "torchgen", "pip", "pkg_resources", "_distutils_hack", "isympy"}
    total = 0
    for path in Path(found).iterdir():
        stem = path.name.partition("-")[0].partition(".")[0].lower()
        if stem in names:
            continue
        total += sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    return f"{found}: {total / 1e6:.0f} MB"


def main() -> None:
    """Write the table, or measure an environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="PYTHON", help="of an environment with circlet alone")
    told = parser.parse_args()
    if told.check:
        print(measured(told.check))
        return
    write_text(RESULT, table())
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
