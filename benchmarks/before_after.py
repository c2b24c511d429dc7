"""Two checkouts side by side, case by case in turns, to see whether a change made anything slower.

    git worktree add /tmp/before REVISION
    python benchmarks/before_after.py --before /tmp/before

Each measurement is a process of its own; the two checkouts take turns, and the median over the rounds is shown with the
range. Writes benchmarks/results/before_after.json and .md, with --threads 2 before_after_2.json and .md. CPU seconds of
the process where a case is computed by one thread, wall seconds where several do or where a process is started.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from circlet.environment import machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

CLOCK = """
import time, torch
clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
"""
LOSS = f"""{CLOCK}
import sys, circlet
batch, classes, repeats = map(int, sys.argv[1:])
torch.manual_seed(0)
x = torch.randn(batch, 512, requires_grad=True)
loss = circlet.CircleLoss(margin=0.25, gamma=256.0)
if classes:
    w, labels = torch.randn(classes, 512, requires_grad=True), torch.randint(0, classes, (batch,))
    step = lambda: loss(x, labels, w).backward()
else:
    labels = torch.arange(batch) // 5
    step = lambda: loss(x, labels).backward()
for _ in range(max(2, repeats // 10)):
    step()
times = []
for _ in range(repeats):
    x.grad = None
    if classes:
        w.grad = None
    started = clock()
    step()
    times.append(clock() - started)
print(min(times))  # what the machine's other work has disturbed least
"""
FIRST = """
import resource, time, torch, circlet
x, labels = torch.randn(1024, 512, requires_grad=True), torch.arange(1024) // 5
(x @ x.T).sum().backward()
loss = circlet.CircleLoss(margin=0.25, gamma=256.0)
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
loss(x, labels).backward()
print(time.perf_counter() - started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


AUGMENT = f"""{CLOCK}
from circlet.augment import Augment
from circlet.recipes import folder
images, labels = torch.randint(0, 256, (64, 3, 256, 256), dtype=torch.uint8), torch.arange(64)
augment, times = Augment(folder(root=".").augment, (160, 160)), []
for turn in range(10):
    torch.manual_seed(turn)
    started = clock()
    augment(images, labels)
    times.append(clock() - started)
print(sum(times[1:]) / 9)
"""


def python(checkout: Path, *arguments: str, cwd: Path | None = None) -> str:
    """What a process prints that imports circlet from a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=True).stdout


def loss(batch: int, classes: int, repeats: int):
    """Seconds of one step."""
    return lambda checkout: {"": float(python(checkout, "-c", LOSS, str(batch), str(classes), str(repeats)))}


def first_call(checkout: Path) -> dict[str, float]:
    """The first tiled loss of a process."""
    seconds, mib = map(float, python(checkout, "-c", FIRST).split())
    return {"": seconds, ", MiB": mib}


def augmentation(checkout: Path) -> dict[str, float]:
    """Seconds for a batch of the recipe for folders."""
    return {"": float(python(checkout, "-c", AUGMENT))}


def training_step(checkout: Path) -> dict[str, float]:
    """Seconds of one step of `circlet train`, glyphs, without the first 20."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        python(checkout, "-m", "circlet", "train", "--steps", "60", "--run-dir", str(run), "--device", "cpu")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
        return {"": (seconds[60] - seconds[20]) / 40}


def started(*arguments: str):
    """Wall seconds of a process."""

    def measure(checkout: Path) -> dict[str, float]:
        begin = time.perf_counter()
        python(checkout, *arguments)
        return {"": time.perf_counter() - begin}

    return measure


CASES = {
    "pair-wise loss, B = 80": loss(80, 0, 400),
    "pair-wise loss, B = 4,096": loss(4096, 0, 5),
    "class-level loss, B = 64, C = 20,000": loss(64, 20_000, 10),
    "class-level loss, B = 128, C = 100,000": loss(128, 100_000, 5),
    "class-level loss, B = 512, C = 10,000": loss(512, 10_000, 5),
    "class-level loss, B = 512, C = 100,000": loss(512, 100_000, 3),
    "augmentation of 64 photographs of 256 x 256": augmentation,
    "first call of a tiled loss (B = 1,024)": first_call,
    "one step of circlet train (glyphs)": training_step,
    "python -c 'import circlet'": started("-c", "import circlet"),
    "circlet --help": started("-m", "circlet", "--help"),
}


def main() -> None:
    """Measure in turns, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="another checkout of this repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(CASES), help="names of cases")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    found: dict[str, dict[str, list[float]]] = {}
    for turn in range(given.rounds):
        for name in given.only:
            for side, checkout in (("before", given.before), ("now", ROOT)):
                for what, value in CASES[name](checkout).items():
                    found.setdefault(name + what, {}).setdefault(side, []).append(value)
        print(f"round {turn + 1} of {given.rounds}", file=sys.stderr, flush=True)
    revisions = {
        side: subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True,
                             check=True).stdout.strip()
        for side, checkout in (("before", given.before), ("now", ROOT))
    }  # fmt: skip
    path = RESULTS / ("before_after.json" if given.threads == 1 else f"before_after_{given.threads}.json")
    earlier = json.loads(path.read_text()) if path.exists() else {}
    if earlier.get("revisions") == revisions:  # cases that were not measured this time keep their figures
        found = {**earlier["measured"], **found}
    content = {"machine": machine("torch"), "revisions": revisions, "rounds": given.rounds, "threads": given.threads,
               "measured": found}  # fmt: skip
    path.write_text(json.dumps(content, indent=1) + "\n")
    text = markdown(content)
    path.with_suffix(".md").write_text(text)
    print(text)


def markdown(content: dict) -> str:
    """The table."""
    where, revisions = content["machine"], content["revisions"]
    lines = [f"{where.get('cpu')}, {where.get('vectors')}, threads: {content['threads']}, torch {where.get('torch')}; "
             f"in turns, median of {content['rounds']} rounds (range); before: {revisions['before']}, now: "
             f"{revisions['now']}\n",
             "| case | before | now | now / before |", "|---|---|---|---|"]  # fmt: skip
    for name, sides in content["measured"].items():
        before, now = (statistics.median(sides[side]) for side in ("before", "now"))
        cells = [_cell(name, sides[side]) for side in ("before", "now")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {now / before:.2f} |")
    return "\n".join(lines) + "\n"


def _cell(name: str, values: list[float]) -> str:
    scale, unit = (1.0, "MiB") if name.endswith("MiB") else (1e3, "ms")
    middle, low, high = (scale * value for value in (statistics.median(values), min(values), max(values)))
    return f"{middle:.3g} {unit} ({low:.3g} to {high:.3g})"


if __name__ == "__main__":
    main()
