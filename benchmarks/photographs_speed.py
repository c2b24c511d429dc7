"""Photographs: what training and embedding cost beside the bare network, in images a second.

    python benchmarks/photographs_speed.py --root ../shared/data/grocery/train

Training: `circlet.training.fit` with the settings of the recipe `folder` for the network's own training (16 x 5 images,
160 pixels, pair-wise Circle loss, AdamW, batch norm frozen, its augmentation; and once more without any) on batches
that are decoded already, beside a bare loop of forward and backward of the same network, with the same frozen batch
norm, precision and memory format, on one such batch: without loss, optimiser, augmentation or log. A step is the time
from one batch asked for to the next, the log and all else of the loop included; the first of each is left out.

Embedding: `circlet.transfer.Frozen.features` without a cache (reading, digests of the files and decoding included),
beside the bare forward pass on batches that lie ready, of the same size.

All take turns, so that a busy machine is unfair to none; medians over the rounds, of ratios within a round too. Writes
benchmarks/results/photographs_speed.{json,md}.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from circlet.augment import Augment, AugmentConfig
from circlet.data import image_folder
from circlet.data.pixels import load_pixels
from circlet.environment import machine
from circlet.experiments import Experiment, resolved
from circlet.experiments.build import build_model, build_objective
from circlet.experiments.network_stage import training_size
from circlet.features.room import LIMIT_VARIABLE
from circlet.models import batch_size, evaluating, plain_view
from circlet.recipes import folder as recipe
from circlet.training import fit
from circlet.training.precision import autocast_dtype
from circlet.transfer import Frozen

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
BARE, BARE_32 = "bare forward and backward", "the same in float32"
FIT, PLAIN = "`fit`, with its augmentation", "`fit`, without augmentation"
FORWARD, FEATURES = "bare forward", "`Frozen.features`, decoding included"


class Timed:
    """Batches for `fit`, which notes when each is asked for; one pass is one epoch."""

    def __init__(self, images: Tensor, labels: Tensor, steps: int) -> None:
        self.images, self.labels, self.steps = images, labels, steps
        self.asked: list[float] = []

    def __len__(self) -> int:
        return self.steps + 2  # the last step, with its checkpoint, and the first are not counted

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(len(self)):
            self.asked.append(time.perf_counter())
            yield self.images, self.labels

    @property
    def seconds(self) -> float:
        """Median of a step, without the first and the last."""
        times = [later - earlier for earlier, later in zip(self.asked, self.asked[1:], strict=False)]
        return statistics.median(times[1:])


def bare_training(experiment: Experiment, images: Tensor, steps: int, dtype: torch.dtype) -> float:
    """Images a second of the network alone, forward and backward."""
    model = _network(experiment).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as the recipe has them
            module.eval()
            module.requires_grad_(False)
    ready = model.normalized(plain_view(images, training_size(experiment))).contiguous(
        memory_format=torch.channels_last
    )
    times = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            maps = model.backbone(ready)
        maps.float().square().mean().backward()
        times.append(time.perf_counter() - started)
    return len(images) / statistics.median(times[1:])


def ours_training(experiment: Experiment, images: Tensor, labels: Tensor, steps: int, augment: AugmentConfig) -> float:
    """Images a second of `fit`."""
    model = _network(experiment)
    batches = Timed(images, labels, steps)
    loop = replace(experiment.loop, steps=len(batches))
    objective = build_objective(experiment.loss, int(labels.max()) + 1, model.embedding_dim, CPU)
    with tempfile.TemporaryDirectory() as folder:
        views = Augment(augment, training_size(experiment))
        fit(model, objective, batches, loop, Path(folder) / "run", device=CPU, augment=views)
    return len(images) / batches.seconds


def bare_embedding(experiment: Experiment, images: Tensor, rounds: int) -> float:
    """Images a second of the forward pass of the network alone, on a batch that lies ready."""
    model = _network(experiment)
    view = experiment.view
    ready = model.normalized(plain_view(images, view.size, view.crop_share))
    ready = ready.contiguous(memory_format=torch.channels_last)
    times = []
    with evaluating(model), torch.no_grad():
        for _ in range(rounds + 1):
            started = time.perf_counter()
            model.backbone(ready)
            times.append(time.perf_counter() - started)
    return len(images) / statistics.median(times[1:])


def ours_embedding(experiment: Experiment, images: Any) -> float:
    """Images a second of `Frozen.features` from files, nothing kept."""
    os.environ[LIMIT_VARIABLE] = "0"
    frozen = Frozen(_network(experiment), experiment.view, experiment.data.decoding, CPU)
    pixels = load_pixels(images, experiment.data.decoding)
    started = time.perf_counter()
    frozen.features(pixels)
    return len(images) / (time.perf_counter() - started)


def _network(experiment: Experiment) -> Any:
    model = build_model(experiment.model, experiment.data.channels)
    model.backbone.to(memory_format=torch.channels_last)
    return model


def main() -> None:
    """Measure in turns, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="that are timed in each round")
    parser.add_argument("--images", type=int, default=400, help="that are embedded in each round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results, another one for a trial")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    experiment = resolved(recipe(root=given.root))
    train = image_folder(given.root, held_out=0.5, seed=0).train
    classes, samples = experiment.batch.classes, experiment.batch.samples
    count = min(classes * samples, len(train)) // samples * samples
    several = train.subset(range(0, len(train), max(len(train) // count, 1))).subset(range(count))
    memory = load_pixels(several, replace(experiment.data.decoding, in_memory=True)).memory
    assert memory is not None
    labels = torch.arange(count) // samples  # what they are called costs nothing
    embedded = train.subset(range(min(given.images, len(train))))
    ready = memory[: batch_size(experiment.view.size)]
    dtype = autocast_dtype(experiment.loop.precision, CPU)
    cases: dict[str, Callable[[], float]] = {
        BARE: lambda: bare_training(experiment, memory, given.steps, dtype),
        BARE_32: lambda: bare_training(experiment, memory, given.steps, torch.float32),
        FIT: lambda: ours_training(experiment, memory, labels, given.steps, experiment.augment),
        PLAIN: lambda: ours_training(experiment, memory, labels, given.steps, AugmentConfig()),
        FORWARD: lambda: bare_embedding(experiment, ready, max(len(embedded) // len(ready), 1)),
        FEATURES: lambda: ours_embedding(experiment, embedded),
    }
    if dtype == torch.float32:
        del cases[BARE_32]
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(given.rounds):
        for name, case in cases.items():
            measured[name].append(case())
        print(f"round {turn + 1} of {given.rounds}: {', '.join(f'{m[-1]:.1f}' for m in measured.values())}", flush=True)
    content = {
        "machine": machine("circlet", "torch", "pillow"),
        "threads": given.threads,
        "precision": str(dtype).removeprefix("torch."),
        "training_size": training_size(experiment),
        "embedding_size": experiment.view.size,
        "batch": count,
        "embedded": len(embedded),
        "images_per_second": measured,
    }
    given.results.mkdir(exist_ok=True)
    (given.results / "photographs_speed.json").write_text(json.dumps(content, indent=1) + "\n")
    text = markdown(content)
    (given.results / "photographs_speed.md").write_text(text)
    print(text)


def markdown(content: dict[str, Any]) -> str:
    """The table."""
    where, measured = content["machine"], content["images_per_second"]
    small, large = (f"{height} x {width}" for height, width in (content["training_size"], content["embedding_size"]))
    lines = [
        f"{where['cpu']}, {where['vectors']}, {content['threads']} threads, load {where['load']}; torch "
        f"{where['torch']}, circlet {where['circlet']}, {where['date'][:10]}. EfficientNet-Lite0, training in "
        f"{content['precision']} at {small}, batches of {content['batch']}; embedding {content['embedded']} images "
        f"at {large}, in float32. In turns, medians of {len(measured[BARE])} rounds (range).",
        "",
        "| | images a second | of the bare network |",
        "|---|---|---|",
    ]
    for bare, names in ((BARE, (BARE_32, FIT, PLAIN)), (FORWARD, (FEATURES,))):
        for name in [name for name in (bare, *names) if name in measured]:
            values = measured[name]
            ratio = statistics.median(value / other for value, other in zip(values, measured[bare], strict=True))
            shown = "" if name == bare else f"{ratio:.2f}"
            middle = f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            lines.append(f"| {name} | {middle} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
