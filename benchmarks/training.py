"""Omniglot: what each loss and level reaches in the same budget; regenerates results/training.json and .md.

    python benchmarks/training.py --root ../shared/data/omniglot

One run after another, each into a temporary folder, with the recipe `omniglot` and only the loss (and what its level
needs) changed. About five minutes a run on two quiet cores.
"""

import json
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from circlet.recipes import RECIPES, Experiment, build_splits, train
from circlet.train import RunFolder, environment

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
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
    steps: int | None = None
    """Steps of each run, instead of the recipe's."""


def main(told: Arguments) -> None:
    """Train all, write the results and put the table into the README."""
    base = RECIPES["omniglot"]()
    base = replace(base, data=replace(base.data, root=told.root))
    if told.steps is not None:
        base = replace(base, loop=replace(base.loop, steps=told.steps))
    splits = build_splits(base.data)
    results: dict[str, dict[str, object]] = {}
    for name, experiment in runs(base).items():
        print(f"== {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder.create(Path(folder) / "run", experiment.to_json())
            train(experiment, splits, run, torch.device("cpu"))
            results[name] = run.read_json("result.json")
        print(json.dumps(results[name]["test"]), flush=True)
    kept = {**environment(), "steps": base.loop.steps}
    del kept["command"]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "training.json").write_text(json.dumps({"environment": kept, "runs": results}, indent=2) + "\n")
    text = table(results)
    (RESULTS / "training.md").write_text(text)
    README.write_text(MARKED.sub(lambda match: match[1] + text + match[2], README.read_text()))


def table(results: dict[str, dict[str, object]]) -> str:
    """Markdown rows: the raw pixels once, then each run."""
    first = next(iter(results.values()))
    rows = {"raw pixels": (first["raw_pixels"], None)}
    rows |= {name: (result["test"], result["train_seconds"]) for name, result in results.items()}
    lines = ["| unseen alphabets | Recall@1 | Recall@8 | R-Precision | MAP@R | training |", "|---|---|---|---|---|---|"]
    for name, (metrics, seconds) in rows.items():
        assert isinstance(metrics, dict)
        cells = " | ".join(f"{metrics[key]:.3f}" for key in ("recall@1", "recall@8", "r_precision", "map@r"))
        lines.append(f"| {name} | {cells} | {'' if seconds is None else f'{seconds:.0f} s'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
