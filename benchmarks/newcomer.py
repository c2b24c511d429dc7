"""A newcomer with a stopwatch: the first page and the tutorial, copied command by command into an empty environment.

    python -m benchmarks.newcomer --photos ../shared/data/grocery/train/Vegetables --query Cabbage

In a new folder that is HOME too lie a copy of this checkout, without what git does not know, and in it `photos`, a copy
of PHOTOS, and `query.jpg`, its first image below QUERY. One shell, which knows nothing else, then runs the commands of
the tutorial's "Install", the `sh` block of docs/index.md, and the rest of the tutorial down to "When it goes wrong";
`circlet serve` until it answers. It stops at the first that fails. pip's cache is empty; where packages come from is
what $PIP_CONFIG_FILE says, or the user's own file. Writes results/newcomer.md. Ten minutes on two quiet cores.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.tutorial import times
from circlet.files import write_text
from docs.hooks.blocks import blocks, sessions
from release.brought import ROOT
from release.contents import tracked_files

RESULT = ROOT / "benchmarks" / "results" / "newcomer.md"
SHELL = """\
set -e
step() {  # runs a command in this shell; the clock and the seconds of all processes before and after it
  echo ">>> $1"
  stamp; eval "$1"; stamp
}
served() {  # until it answers
  echo ">>> $1"
  stamp; eval "$1 &"; process=$!
  until python -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8000/api/health")' 2>/dev/null; do
    kill -0 $process; sleep 1
  done
  stamp; kill $process; wait $process || true
}
stamp() {  # times itself must run in this shell: another one has no children yet
  times >"$STAMPS.now"; echo "$EPOCHREALTIME" $(<"$STAMPS.now") >>"$STAMPS"
}
"""


class Page(NamedTuple):
    """The commands of a page, and of its part "Install"."""

    install: list[str]
    rest: list[str]


def commands(path: Path) -> Page:
    """What a reader of a page copies, in order: comments dropped, continued lines joined."""
    page = path.read_text(encoding="utf-8").partition("## When it goes wrong")[0]
    found: list[list[str]] = [[], []]
    for block in blocks(page):
        if block.language == "console":
            lines = [session.command for session in sessions(block.text)]
        elif block.language == "sh":
            lines = [re.sub(r"\s+#.*$", "", line) for line in block.text.replace("\\\n", " ").splitlines()]
        else:
            continue
        heading = page[: page.index(block.text)].rpartition("\n## ")[2].partition("\n")[0]
        found[heading != "Install"] += [line for line in lines if line]
    return Page(*found)


def script(lines: list[str]) -> str:
    """A shell script that takes the time of each."""
    kinds = ("served" if line.startswith("circlet serve") else "step" for line in lines)
    return SHELL + "".join(f"{kind} {shlex.quote(line)}\n" for kind, line in zip(kinds, lines, strict=True))


def seconds(stamps: str) -> list[tuple[float, float]]:
    """For each command the seconds on the clock, and of its processes."""
    found = []
    for line in stamps.splitlines():
        clock, *spent = line.split()
        cpu = sum(60 * int(minutes) + float(rest) for minutes, rest in re.findall(r"(\d+)m([\d.]+)s", " ".join(spent)))
        found.append((float(clock), cpu))
    return [(after[0] - before[0], after[1] - before[1]) for before, after in zip(found[::2], found[1::2], strict=True)]


def main() -> None:
    """Copy, follow, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--query", type=Path, required=True)
    told = parser.parse_args()
    first, tutorial = commands(ROOT / "docs" / "index.md"), commands(ROOT / "docs" / "tutorial.md")
    lines = [*tutorial.install, *first.rest, *tutorial.rest]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for file in tracked_files(ROOT):
            (home / "circlet" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, home / "circlet" / file)
        shutil.copytree(told.photos, home / "circlet" / "photos")
        query = min((home / "circlet" / "photos" / told.query).rglob("*.jpg"))
        shutil.move(query, home / "circlet" / "query.jpg")
        pip = os.environ.get("PIP_CONFIG_FILE", str(Path.home() / ".config" / "pip" / "pip.conf"))
        known = {
            "HOME": name,
            "PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin",
            "PIP_CONFIG_FILE": pip,
            "STAMPS": str(home / "stamps"),
        }
        done = subprocess.run(["bash", "-c", script(lines)], cwd=home, env={**known, "LANG": "C.UTF-8"}, check=False)
        taken = seconds((home / "stamps").read_text()) if not done.returncode else []
    if done.returncode:
        raise SystemExit(f"stopped with status {done.returncode} after the last command above")
    write_text(RESULT, times([(line, *spent) for line, spent in zip(lines, taken, strict=True)]))
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
