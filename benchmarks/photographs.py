"""Photographs, beside the peers: what each way to an embedding of unseen classes gives, in how much time and memory.

    pip install --no-deps -r benchmarks/requirements.txt      # pytorch-metric-learning
    python benchmarks/photographs.py --root ../shared/data/grocery/train --work /tmp/photographs --minutes 20

The same for all: network and weights (EfficientNet-Lite0 of ImageNet, at 224 pixels), images, class splits
(`image_folder(root, held_out=.5, seed=split)`), decoding, augmentation, batches of 16 x 5, budget, threads, and the
protocol: every test image searches all the others (`circlet.evaluate.retrieval`). The methods:

- frozen: the network's pooled features, without any training; whitening: within classes in closed form, shrinkage 1.
- pml-...: a plain PyTorch loop with a loss of pytorch-metric-learning, see `photographs_peers.py`.
- oml-triplet: likewise open-metric-learning. Its requirements contradict this environment's (numpy below 2, and
  torchvision, which does not load beside the CPU build of torch): give it an interpreter of its own with
  --oml-python; where it does not run, the table says why. Such an interpreter:
  python -m venv /tmp/oml; /tmp/oml/bin/pip install --no-deps open-metric-learning and the pure packages that it
  asks for; a .pth file there with the site-packages of this environment.
- ours: `circlet train folder --root ROOT` and nothing else, with an empty cache; ours-warm: again, with the cache that
  it left; ours-minutes: with --minutes, and an empty cache.

Each run is a process of its own, one after another; its time is from start to exit, and its memory is the largest that
it had resident. The budget of the peers is for their training alone; that of ours is for everything. Runs leave a JSON
file each in the folder --work, and those that are there are not made again, so that it can be stopped at any time; runs
that failed are tried again. After each of them, benchmarks/results/photographs.{md,csv,png} and the table between the
markers of README.md are written anew. --plan only says what there is to do; --paired --minutes 20 is a third of it.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from photographs_peers import VARIANTS
from photographs_tables import RESULTS, write_results

from circlet.data import ImageSet, image_folder
from circlet.environment import machine
from circlet.evaluate import retrieval
from circlet.evaluate.intervals import class_interval
from circlet.evaluate.retrieval import retrieval_by_query

HERE = Path(__file__).parent
CIRCLET = (sys.executable, "-m", "circlet")
METHODS = ("frozen", "whitening", "ours", "ours-warm", "ours-minutes", *VARIANTS)
WITHOUT_CHANCE = ("frozen", "whitening")  # one run a split is all there is to see
WITH_BUDGET = ("ours-minutes", *VARIANTS)


class Run(NamedTuple):
    """One row of the .csv; minutes None: without a budget."""

    method: str
    minutes: float | None
    split: int
    seed: int

    @property
    def name(self) -> str:
        """Of its file and folder."""
        budget = "" if self.minutes is None else f"-{self.minutes:g}min"
        return f"{self.method}{budget}-split{self.split}-seed{self.seed}"


def main() -> None:
    """Make the runs that are missing; write the results."""
    given = arguments()
    settings = {"root": str(given.root.resolve()), "threads": given.threads, "rates": given.rates}
    runs = list(planned(given))
    missing = [run for run in runs if failed(given.work / f"{run.name}.json", settings)]
    minutes = sum(1.5 if run.minutes is None else run.minutes + 1.5 for run in missing)
    print(f"{len(runs)} runs, {len(missing)} of them to be made: about {minutes / 60:.1f} h", flush=True)
    if given.plan:
        for run in missing:
            print(f"  {run.name}")
        return
    given.work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; the same command goes on"))  # with the run in progress
    for number, run in enumerate(missing):
        print(f"{number + 1}/{len(missing)} {run.name}", end=" ", flush=True)
        found = {**run._asdict(), "settings": settings, **made(run, settings, given)}
        (given.work / f"{run.name}.json").write_text(json.dumps(found))
        print(found.get("failed") or f"Recall@1 {found['recall_at_1']:.3f} MAP@R {found['map_at_r']:.3f} "
              f"{found['wall_seconds']:.0f} s {found['peak_memory_mib']:.0f} MiB", flush=True)  # fmt: skip
        write_results(given.work, given.results, METHODS)
    print(write_results(given.work, given.results, METHODS))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of photographs: root/class/image")
    parser.add_argument("--work", type=Path, required=True, help="folder for a JSON file of each run, and run folders")
    only = {"choices": METHODS, "default": METHODS, "metavar": "METHOD", "help": ", ".join(METHODS)}
    parser.add_argument("--only", nargs="+", **only)
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--paired", action="store_true", help="the first seed for the first split, and so on, alone")
    parser.add_argument("--minutes", nargs="+", type=float, default=[20.0], help="budgets of the methods that train")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rates", nargs=2, type=float, default=[1e-4, 1e-3], metavar=("NETWORK", "HEAD"),
                        help="learning rates of the peers")  # fmt: skip
    parser.add_argument("--oml-python", default=sys.executable, help="interpreter that has open-metric-learning")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results, another one for a trial")
    parser.add_argument("--plan", action="store_true", help="say what there is to do, and stop")
    return parser.parse_args()


def planned(given: argparse.Namespace) -> Iterator[Run]:
    """All runs; first each split with one seed, so that a benchmark cut short has seen them all."""
    for turn in range(1 if given.paired else len(given.seeds)):
        for minutes in given.minutes:
            for place, split in enumerate(given.splits):
                seed = given.seeds[(place + turn) % len(given.seeds)]
                for method in given.only:
                    if method in WITH_BUDGET:
                        yield Run(method, minutes, split, seed)
                    elif minutes == given.minutes[0] and method not in WITHOUT_CHANCE:
                        yield Run(method, None, split, seed)
                    elif minutes == given.minutes[0] and turn == 0:
                        yield Run(method, None, split, 0)


def failed(path: Path, settings: dict[str, Any]) -> bool:
    """Whether a run is to be made: it is not there, or it failed. Results of other settings are an error."""
    if not path.exists():
        return True
    found = json.loads(path.read_text())
    if found["settings"] != settings:
        raise SystemExit(f"--work: found {path} of {found['settings']}, expected {settings}, or another folder")
    return "failed" in found


def made(run: Run, settings: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Make one run, and judge it."""
    folder = given.work / "runs" / run.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cold = folder / "cache"
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "CIRCLET_CACHE": str(cold),
                   "PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE)])}  # fmt: skip
    try:
        if run.method.startswith("ours"):
            if run.method == "ours-warm":
                environment["CIRCLET_CACHE"] = str(warm_cache(run, settings, given, environment))
            cost = timed(train_command(run, settings, folder / "run"), environment, folder / "log.txt")
            embed = [*CIRCLET, "embed", str(folder / "run"), "--out", str(folder / "embeddings")]
            timed(embed, environment, folder / "log.txt")
            info = of_run(folder / "run")
        else:
            python = given.oml_python if run.method.startswith("oml") else sys.executable
            command = [python, str(HERE / "photographs_run.py"), run.method, str(folder)]
            told = json.dumps({**settings, **run._asdict()})
            cost = timed(command, environment, folder / "log.txt", told)
            info = json.loads((folder / "info.json").read_text())
    except subprocess.CalledProcessError as error:
        return {"failed": f"{run.method}: {error.output}"}
    test = image_folder(settings["root"], held_out=0.5, seed=run.split).query
    found = judged(torch.from_numpy(np.load(folder / "embeddings.npy")), test)
    if "reported" in info and abs(info["reported"]["map@r"] - found["map_at_r"]) > 2e-3:
        return {"failed": f"{run.method}: MAP@R {found['map_at_r']}, but its own test said {info['reported']['map@r']}"}
    if run.method != "ours":  # whose cache ours-warm takes up
        shutil.rmtree(cold, ignore_errors=True)
    versions = machine("circlet", "torch", "numpy", "pillow", "pytorch-metric-learning")
    return {**found, **cost, "info": info, "machine": {**versions, "revision": revision()}}


def warm_cache(run: Run, settings: dict[str, Any], given: argparse.Namespace, environment: dict[str, str]) -> Path:
    """A cache that has the features of the split's images: that of ours, or of a run of it that nobody times."""
    cache: Path = given.work / "runs" / run._replace(method="ours").name / "cache"
    if not cache.exists():
        cache = given.work / "runs" / run.name / "cache"
        first = given.work / "runs" / run.name / "first"
        environment = {**environment, "CIRCLET_CACHE": str(cache)}
        timed(train_command(run, settings, first), environment, first.with_suffix(".txt"))
    return cache


def train_command(run: Run, settings: dict[str, Any], folder: Path) -> list[str]:
    """`circlet train folder`, as people type it; the seeds are those of the split and of the training."""
    command = [*CIRCLET, "train", "folder", "--root", settings["root"]]
    command += ["--run-dir", str(folder), "--data.seed", str(run.split), "--loop.seed", str(run.seed)]
    return command if run.minutes is None else [*command, "--minutes", f"{run.minutes:g}"]


def timed(command: list[str], environment: dict[str, str], log: Path, told: str = "") -> dict[str, float]:
    """Seconds from start to exit, and the largest resident memory of the process (VmHWM, as `circlet compare`)."""
    peak, began = float("nan"), time.monotonic()
    with log.open("a") as file:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=file,
                                   stderr=subprocess.STDOUT, text=True)  # fmt: skip
        try:
            assert process.stdin is not None
            process.stdin.write(told)
            process.stdin.close()
            while process.poll() is None:
                peak = resident_peak_mib(process.pid, peak)
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    seconds = time.monotonic() - began
    if process.returncode:
        lines = [line for line in log.read_text().splitlines() if line.strip()] or ["no message"]
        raise subprocess.CalledProcessError(process.returncode, command, output=lines[-1])
    return {"wall_seconds": round(seconds, 1), "peak_memory_mib": round(peak, 1)}


def resident_peak_mib(pid: int, otherwise: float) -> float:
    """VmHWM of another process in MiB, where Linux tells."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return otherwise
    return int(found[1]) / 1024 if found else otherwise  # none: it is about to be gone


def of_run(folder: Path) -> dict[str, Any]:
    """What the run folder says of itself."""
    result = json.loads((folder / "result.json").read_text())
    stages = json.loads((folder / "stages.json").read_text()) if (folder / "stages.json").exists() else {}
    kept = [stage["stage"] for stage in stages.get("stages", []) if stage["kept"]]
    return {
        "reported": result["test"],
        "frozen": result.get("frozen"),
        "kept": kept,
        "sentence": stages.get("sentence"),
        "train_seconds": result["train_seconds"],
    }


def judged(embeddings: torch.Tensor, test: ImageSet) -> dict[str, Any]:
    """The two figures, their intervals over classes, and what every query found."""
    labels = torch.from_numpy(test.labels)
    total, queries = retrieval(embeddings, labels, ks=(1,)), retrieval_by_query(embeddings, labels)
    assert bool(queries.has_match.all())
    first = queries.recall_at(1)
    return {
        "recall_at_1": total.recall_at_k[1],
        "map_at_r": total.map_at_r,
        "recall_at_1_interval": class_interval(first, labels)[1:],
        "map_at_r_interval": class_interval(queries.map_at_r, labels)[1:],
        "queries": {
            "classes": [test.class_names[label] for label in test.labels],
            "first": first.int().tolist(),
            "map_at_r": [round(value, 5) for value in queries.map_at_r.tolist()],
        },
    }


def revision() -> str:
    """Of this checkout; + where files have been changed since."""
    described = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=HERE, capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
