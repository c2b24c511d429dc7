"""The tutorial, run: its commands in order on real photographs, what they print written back into docs/tutorial.md.

    python -m benchmarks.tutorial --photos ../shared/data/grocery/train/Vegetables --query Cabbage

Every command of a `console` block above "When it goes wrong" is run as a user would, in an empty folder in which
`photos` is a copy of PHOTOS, but for its first image below QUERY, which is `query.jpg`; no features are cached yet.
Writes the time that each took, on the clock and of the processors, into results/tutorial.md. A few minutes.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from circlet.environment import machine
from circlet.files import write_text
from docs.hooks.blocks import sessions

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
RESULTS = ROOT / "benchmarks" / "results"


def run(command: str, folder: Path) -> tuple[str, float, float]:
    """What it printed, as a terminal's reader sees it, and the seconds: on the clock, and of the processors."""
    words = command.split()
    environment = {**os.environ, "CIRCLET_CACHE": str(folder / "cache"), "COLUMNS": "100"}
    began, before = time.monotonic(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout.replace(str(folder), "/home/you"), time.monotonic() - began, cpu


def short(printed: str) -> str:
    """Without the lines of progress, which a terminal shows as a bar and takes away."""
    return "\n".join(line.rstrip() for line in printed.strip().splitlines() if not line.endswith(" left"))


def main() -> None:
    """Run all, write the page and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--query", type=Path, required=True)
    told = parser.parse_args()
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(told.photos, folder / "photos")
        shutil.move(min((folder / "photos" / told.query).rglob("*.jpg")), folder / "query.jpg")
        recorded = PAGE.read_text(encoding="utf-8").partition("## When it goes wrong")[0]
        for block in re.findall(r"```console\n.*?```", recorded, flags=re.DOTALL):
            text = ""
            for session in sessions(block.removeprefix("```console\n").removesuffix("```")):
                printed, *seconds = run(session.command, folder)
                rows.append((session.command, *seconds))
                print(f"{session.command}: {seconds[0]:.0f} s", flush=True)
                text += f"$ {session.command}\n{short(printed)}\n"
            page = PAGE.read_text(encoding="utf-8")  # again each time: somebody may have changed it meanwhile
            write_text(PAGE, page.replace(block, f"```console\n{text}```", 1))
            write_text(RESULTS / "tutorial.md", times(rows))


def times(rows: list[tuple[str, float, float]]) -> str:
    """The table, and on what it was measured."""
    whole = ("all", *(sum(row[place] for row in rows) for place in (1, 2)))
    table = "".join(f"| {_command(name)} | {clock:.0f} s | {cpu:.0f} s |\n" for name, clock, cpu in (*rows, whole))
    about = ", ".join(f"{key} {value}" for key, value in machine("torch", "circlet").items())
    return f"| command | on the clock | of the processors |\n| --- | --- | --- |\n{table}\n{about}.\n"


def _command(name: str) -> str:
    return name if name == "all" else f"`{name}`"


if __name__ == "__main__":
    main()
