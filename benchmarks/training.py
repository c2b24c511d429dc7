"""Omniglot: what each loss and level reaches in the same budget; regenerates results/training.json and .md,
the table in the README and its picture.

    python benchmarks/training.py --root ../shared/data/omniglot

One run after another, each into a temporary folder, with the recipe `omniglot` and only the loss (and what its level
needs) changed. About ten minutes a run on two quiet cores.
"""

import json
import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from circlet.experiments import Experiment, build_splits, train
from circlet.recipes import RECIPES
from circlet.report import contact_sheet
from circlet.training import RunFolder, environment

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
PICTURE = Path(__file__).parents[1] / "docs" / "neighbours.png"
MARKED = re.compile(r"(<!-- begin benchmarks/results/training\.md -->\n).*?(<!-- end)", re.DOTALL)


def runs(base: Experiment) -> dict[str, Experiment]:
    """The experiments, by the name they have in the table."""
    no_composed = replace(base.augment, composed_classes=0.0, warped_classes=0.0)  # they have no class weights
    shuffled = replace(base.batch, sampler="shuffle")
    class_level = replace(base, augment=no_composed, batch=shuffled, loss=replace(base.loss, level="class"))
    return {
        "Circle, pair-wise": base,
        "Circle, class-level": class_level,
        "triplet (batch-hard), pair-wise": replace(
            base, loss=replace(base.loss, name="triplet", gamma=None, margin=None)
        ),
    }


@dataclass(frozen=True)
class Arguments:
    """What to run."""

    root: Path | None = None
    """Local copy of Omniglot; by default it is downloaded."""
    only: str | None = None
    """Run this one alone, by its name in the table, and keep the others' results."""
    threads: int = 2
    """CPU threads."""
    steps: int | None = None
    """Steps of each run, instead of the recipe's."""


def main(told: Arguments) -> None:
    """Train, write the results and put the table into the README."""
    torch.set_num_threads(told.threads)
    base = RECIPES["omniglot"]()
    base = replace(base, data=replace(base.data, root=told.root))
    if told.steps is not None:
        base = replace(base, loop=replace(base.loop, steps=told.steps))
    chosen = {name: run for name, run in runs(base).items() if told.only in (None, name)}
    if not chosen:
        raise SystemExit(f"--only: found {told.only!r}, expected one of {list(runs(base))}")
    splits = build_splits(base.data)
    for name, experiment in chosen.items():
        print(f"== {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder.create(Path(folder) / "run", experiment.to_json())
            began = time.process_time()
            outcome = train(experiment, splits, run, torch.device("cpu"))
            if experiment == base:
                query = outcome.test_set.query.images
                contact_sheet(query, None, outcome.embedded).save(PICTURE, optimize=True)
            result = {**run.read_json("result.json"), "cpu_seconds": time.process_time() - began}
            for figure in ("train_seconds", "cpu_seconds"):
                result[figure] = round(result[figure], 1)
        made = environment()
        del made["command"]
        write({name: {**result, "steps": base.loop.steps, "environment": made}}, list(runs(base)))


def write(new: dict[str, dict[str, Any]], order: list[str]) -> None:
    """Add results to those there are, in the table's order; write the table, also into the README."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "training.json"
    results = {**(json.loads(path.read_text()) if path.exists() else {}), **new}
    results = {name: results[name] for name in order if name in results}
    path.write_text(json.dumps(results, indent=2) + "\n")
    text = table(results)
    (RESULTS / "training.md").write_text(text)
    README.write_text(MARKED.sub(lambda match: match[1] + text + match[2], README.read_text()))
    print(text)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown rows: the raw pixels once, then each run."""
    first = next(iter(results.values()))
    lines = [
        "| unseen alphabets | Recall@1 | Recall@8 | R-Precision | MAP@R | steps | training | CPU time | threads |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| raw pixels, as the model sees them | {_metrics(first['raw_pixels'])} | | | | |",
    ]
    for name, result in results.items():
        cost = f"{result['train_seconds']:.0f} s | {result['cpu_seconds']:.0f} s"
        threads = result["environment"]["cpu_threads"]
        lines.append(f"| {name} | {_metrics(result['test'])} | {result['steps']} | {cost} | {threads} |")
    return "\n".join(lines) + "\n"


def _metrics(metrics: dict[str, float]) -> str:
    return " | ".join(f"{metrics[key]:.3f}" for key in ("recall@1", "recall@8", "r_precision", "map@r"))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
