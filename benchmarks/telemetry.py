"""What similarity telemetry costs: CPU time of a call beside that of a training step, at the default log_every.

    python benchmarks/telemetry.py [--steps 12] [--threads 1]

Training steps of the recipe `glyphs` at each level (forward, backward, optimiser) take turns with calls of the
telemetry on the same batch; and, as a worst case, the loss alone with 100,000 class weights, where telemetry looks at
fewer anchors. Medians of CPU seconds of the process, so that a busy machine does not blur a difference of a percent.
Writes benchmarks/results/telemetry.{json,md}.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from torch import nn

from circlet.analyse import Telemetry, Trace
from circlet.augment import Augment
from circlet.data import load_pixels
from circlet.experiments import Experiment, build_splits
from circlet.experiments.build import build_model, build_objective
from circlet.losses import CircleLoss
from circlet.recipes import RECIPES
from circlet.training import LoopConfig, Objective, environment
from circlet.training.image_batches import TrainBatches

RESULTS = Path(__file__).parent / "results"
LEVELS = ("pair", "class", "joint")
WORST = "loss alone, B=512 D=512 C=100000"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arguments:
    """What to run."""

    steps: int = 12
    """Steps of each case, after one that is not counted."""
    threads: int = 1
    """CPU threads."""


def main(told: Arguments) -> None:
    """Measure, print, write."""
    torch.set_num_threads(told.threads)
    base = RECIPES["glyphs"]()
    pixels = load_pixels(build_splits(base.data).train, base.data.decoding)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for level in LEVELS:
            results[f"glyphs, {level} labels"] = measure(recipe_step(base, pixels, level), told.steps, Path(folder))
        results[WORST] = measure(class_step(512, 512, 100_000), max(2, told.steps // 4), Path(folder))
    made = environment()
    del made["command"]
    write({"environment": made, "log_every": LoopConfig.log_every, "cases": results})


Step = Callable[[], tuple[nn.Module, torch.Tensor, torch.Tensor]]


def recipe_step(base: Experiment, pixels: object, level: str) -> Step:
    """A whole training step of the recipe at a level; what it gives is what the loop hands to `observe`."""
    made_up = {"composed_classes": 0.0, "warped_classes": 0.0} if level != "pair" else {}
    experiment = replace(base, augment=replace(base.augment, **made_up), loss=replace(base.loss, level=level))
    model = build_model(experiment.model, experiment.data.channels).train()
    batches = TrainBatches(pixels, experiment.batch, classes_per_class=experiment.augment.classes_per_class, seed=0)  # type: ignore[arg-type]
    objective = build_objective(experiment.loss, batches.num_classes, model.embedding_dim, CPU)
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=1e-3)
    augment = Augment(experiment.augment, experiment.model.size)
    images, labels = next(batches.epoch(0, 0))

    def step() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
        seen, classes = augment(images, labels)
        embeddings = model(seen)
        optimizer.zero_grad(set_to_none=True)
        objective(embeddings, classes).backward()
        optimizer.step()
        return objective, embeddings.detach(), classes

    return step


def class_step(batch: int, dim: int, num_classes: int) -> Step:
    """Forward and backward of Circle loss with many class weights, without a model."""
    objective = Objective(CircleLoss(), "class", num_classes, dim)
    embeddings = torch.randn(batch, dim, requires_grad=True)
    labels = torch.randint(num_classes, (batch,))

    def step() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
        objective.zero_grad(set_to_none=True)
        objective(embeddings, labels).backward()
        return objective, embeddings.detach(), labels

    return step


def measure(step: Step, steps: int, folder: Path) -> dict[str, float]:
    """Median CPU milliseconds of a step and of a call, and the share of the call at the default log_every."""
    telemetry = Telemetry(Trace(folder))
    took: dict[str, list[float]] = {"step_ms": [], "telemetry_ms": []}
    for _ in range(steps + 1):
        begun = time.process_time()
        batch = step()
        between = time.process_time()
        with torch.no_grad():
            telemetry(*batch)
        took["step_ms"].append(1e3 * (between - begun))
        took["telemetry_ms"].append(1e3 * (time.process_time() - between))
    medians = {name: statistics.median(times[1:]) for name, times in took.items()}
    share = 100 * medians["telemetry_ms"] / (LoopConfig.log_every * medians["step_ms"])
    return {**{name: round(value, 2) for name, value in medians.items()}, "share_percent": round(share, 3)}


def write(results: dict[str, object]) -> None:
    """The JSON file, and the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "telemetry.json").write_text(json.dumps(results, indent=2) + "\n")
    cases = results["cases"]
    made = results["environment"]
    assert isinstance(cases, dict)
    assert isinstance(made, dict)
    lines = [
        "# Similarity telemetry: CPU time",
        "",
        f"Median CPU milliseconds on {made['cpu_threads']} thread(s) ({made['cpu']}, {made['vectors']}) of a training "
        f"step and of a call; a call every {results['log_every']} steps, the default, adds the share.",
        "",
        "| case | step, ms | call, ms | share |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['step_ms']:.1f} | {row['telemetry_ms']:.1f} | {row['share_percent']:.2f} % |"
            for name, row in cases.items()
        ),
    ]
    text = "\n".join(lines) + "\n"
    (RESULTS / "telemetry.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
