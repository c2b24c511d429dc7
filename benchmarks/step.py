"""Images a second of whole training steps: ours beside a bare loop of the same network and timm's training script.

    python benchmarks/step.py --root ../shared/data/grocery/train --timm TRAIN_PY [--networks efficientnet_lite0]

TRAIN_PY: timm's train.py, which is not in its wheel (huggingface/pytorch-image-models: read it first).

Contenders, with the same network, batch, size of images, precision, memory format and threads:

    fit        `circlet.training.fit` as `circlet train folder` calls it to train the network: JPEGs out of two loader
               workers, its augmentation, pair-wise Circle loss, telemetry, log and progress
    bare       the same network, loss and optimiser in a loop of its own on one batch, decoded and augmented before
    compiled   `fit` with --loop.compile yes; what compiling takes is told beside it, and not counted
    timm       timm's script on the same files with two workers, random crops and flips, colours changed, AdamW and
               cross-entropy; as it has no frozen batch norms, it is beside `fit` and `bare` with theirs trained

Each turn of a contender trains anew. A step is the time from one batch asked for to the next, all between included; the
first two are left out, and the last, after which a checkpoint is written. The turns go round, so that a busy machine is
unfair to none; medians over the rounds, of ratios within a round too. Writes benchmarks/results/step.{json,md}.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm_train import torchvision_operators
from torch import Tensor

from circlet.analyse import Telemetry
from circlet.augment import Augment
from circlet.data import ImageSet, image_folder
from circlet.data.pixels import load_pixels
from circlet.environment import machine
from circlet.experiments import Experiment, resolved
from circlet.experiments.build import build_model, build_objective
from circlet.experiments.network_stage import faster_precision
from circlet.models import Embedder
from circlet.recipes import folder as recipe
from circlet.training import RunFolder, fit
from circlet.training.image_batches import TrainBatches
from circlet.training.optimizer import build_optimizer
from circlet.training.precision import autocast_dtype

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
SIZE = (160, 160)  # what the recipe trains efficientnet_lite0 at
WORKERS, LEFT_OUT = 2, 2
TIMM_LINE = re.compile(r"Time: ([\d.]+)s")
NETWORKS = {"efficientnet_lite0": "tf_efficientnet_lite0", "timm/resnet18": "resnet18"}


class Case(NamedTuple):
    """What is trained."""

    experiment: Experiment
    images: ImageSet
    root: Path
    classes: int
    timm: str
    script: Path
    threads: int

    @property
    def batch(self) -> int:
        """Images of a step."""
        return self.experiment.batch.classes * self.experiment.batch.samples

    def with_norms(self, *, frozen: bool) -> "Case":
        """With batch norms that keep their statistics, or do not."""
        loop = self.experiment.loop
        loop = replace(loop, optimizer=replace(loop.optimizer, freeze_batchnorm=frozen))
        return self._replace(experiment=replace(self.experiment, loop=loop))


class Timed:
    """The batches of the loader, which notes when each is asked for."""

    def __init__(self, batches: TrainBatches) -> None:
        self.batches, self.asked = batches, list[float]()

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start_batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches."""
        for batch in self.batches.epoch(epoch, start_batch):
            yield batch
            self.asked.append(time.perf_counter())


def rate(times: list[float], batch: int) -> float:
    """Images a second of steps, without the first two and the last."""
    return batch / statistics.mean(times[LEFT_OUT:-1])


def network(case: Case) -> Embedder:
    """The network, new."""
    torch.manual_seed(0)
    return build_model(case.experiment.model, case.experiment.data.channels)


def ours(case: Case, steps: int, compile: str, spent: list[float]) -> float:
    """Images a second of `fit`; what a compiled network takes to compile is appended to `spent`."""
    experiment = case.experiment
    model = network(case)
    pixels = load_pixels(case.images, replace(experiment.data.decoding, in_memory=False, workers=WORKERS))
    batches = Timed(TrainBatches(pixels, experiment.batch, seed=0))
    objective = build_objective(experiment.loss, batches.batches.num_classes, model.embedding_dim, CPU)
    loop = replace(experiment.loop, steps=steps + LEFT_OUT + 1, compile=compile)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder.create(Path(place) / "run", {})
        began = time.perf_counter()
        fit(model, objective, batches, loop, folder, device=CPU, augment=Augment(experiment.augment, SIZE),
            observe=Telemetry(None))  # fmt: skip
    times = [later - earlier for earlier, later in zip([began, *batches.asked], batches.asked, strict=False)]
    if compile == "yes":
        spent.append(times[0] - statistics.mean(times[LEFT_OUT:-1]))
    return rate(times, case.batch)


def bare(case: Case, steps: int) -> float:
    """Images a second of the network, its loss and optimiser alone."""
    experiment = case.experiment
    model = network(case).to(memory_format=torch.channels_last).train()
    chosen = case.images.subset(range(case.batch))
    memory = load_pixels(chosen, replace(experiment.data.decoding, in_memory=True)).memory
    assert memory is not None
    labels = torch.arange(case.batch) // experiment.batch.samples
    images, labels = Augment(experiment.augment, SIZE)(memory, labels)
    objective = build_objective(experiment.loss, int(labels.max()) + 1, model.embedding_dim, CPU)
    for module in model.backbone.modules():
        if experiment.loop.optimizer.freeze_batchnorm and isinstance(module, torch.nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    optimizer = build_optimizer(model, objective, experiment.loop.optimizer)
    dtype = autocast_dtype(experiment.loop.precision, CPU)
    times = []
    for _ in range(steps + LEFT_OUT + 1):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            embeddings = model(images)
        objective(embeddings, labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    return rate(times, case.batch)


def timm(case: Case, steps: int) -> float:
    """Images a second of timm's script, by its own log."""
    experiment = case.experiment
    augment, dtype = experiment.augment, autocast_dtype(experiment.loop.precision, CPU)
    with tempfile.TemporaryDirectory() as output:
        command = [
            sys.executable, str(Path(__file__).parent / "timm_train.py"), str(case.script.resolve()),
            "--data-dir", str(case.root), "--val-split", "", "--model", case.timm, "--num-classes", str(case.classes),
            "--img-size", str(SIZE[0]), "-b", str(case.batch), "-j", str(WORKERS), "--device", "cpu",
            "--channels-last", "--opt", "adamw", "--lr", "1e-4", "--epochs", "1", "--warmup-epochs", "0",
            "--log-interval", "1", "--scale", *map(str, augment.crop or (1.0, 1.0)), "--color-jitter", "0.2",
            "--smoothing", "0", "--output", output,
            *(("--amp", "--amp-dtype", "bfloat16") if dtype == torch.bfloat16 else ()),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": str(case.threads)}
        times, said = list[float](), list[str]()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=environment) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                times += map(float, TIMM_LINE.findall(line))
                if len(times) == steps + LEFT_OUT + 1:
                    process.terminate()
                    break
    if len(times) <= LEFT_OUT + 1:
        raise SystemExit(f"timm's script: found {len(times)} steps in its log: {''.join(said[-20:])}")
    return rate(times, case.batch)


def prepared(given: argparse.Namespace, name: str, root: Path) -> Case:
    """The recipe with this network, and the photographs in a folder as both want it."""
    experiment = recipe(root=given.root)
    model = replace(experiment.model, backbone=name, pretrained=not name.startswith("timm/"))
    experiment = resolved(replace(experiment, model=model, transfer=replace(experiment.transfer, stages=()),
                                  batch=replace(experiment.batch, classes=given.classes)))  # fmt: skip
    train = image_folder(given.root, held_out=1, seed=0).train
    for index, label in enumerate(train.labels.tolist()):
        path = root / "train" / str(label) / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            shutil.copyfile(given.root / train.names[index], path)
    images = image_folder(root / "train", held_out=1, seed=0).train
    case = Case(experiment, images, root, len(list((root / "train").iterdir())), NETWORKS[name], given.timm,
                given.threads)  # fmt: skip
    precision = given.precision or faster_precision(network(case), SIZE, experiment.loop, CPU)
    return case._replace(experiment=replace(experiment, loop=replace(experiment.loop, precision=precision)))


def measure(case: Case, given: argparse.Namespace) -> dict[str, Any]:
    """The contenders, in turns."""
    steps, rounds = given.steps, given.rounds
    spent: list[float] = []
    frozen, trained = case.with_norms(frozen=True), case.with_norms(frozen=False)
    cases: dict[str, Callable[[], float]] = {
        "bare": lambda: bare(frozen, steps),
        "fit": lambda: ours(frozen, steps, "no", spent),
        "compiled": lambda: ours(frozen, steps, "yes", spent),
        "bare, norms trained": lambda: bare(trained, steps),
        "fit, norms trained": lambda: ours(trained, steps, "no", spent),
        "timm, norms trained": lambda: timm(trained, steps),
    }
    cases = {name: run for name, run in cases.items() if name.split(",")[0] not in given.without}
    found: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds):
        for name, run in cases.items():
            found[name].append(run())
        print(f"round {turn + 1} of {rounds}: {', '.join(f'{n} {m[-1]:.1f}' for n, m in found.items())}", flush=True)
    dtype = str(autocast_dtype(case.experiment.loop.precision, CPU)).removeprefix("torch.")
    return {"batch": case.batch, "precision": dtype, "images_per_second": found, "compiling_s": spent}


def markdown(content: dict[str, Any]) -> str:
    """The tables."""
    where = content["machine"]
    lines = [
        f"{where['cpu']}, {where['vectors']}, {content['threads']} threads, load {where['load']}; torch "
        f"{where['torch']}, timm {where['timm']}, circlet {where['circlet']}, {where['date'][:10]}. Training at "
        f"{SIZE[0]} x {SIZE[1]} from JPEGs by {WORKERS} loader workers; {content['steps']} steps a turn, in turns, "
        f"medians of {content['rounds']} rounds (range).",
    ]
    for name, found in content["networks"].items():
        rates = found["images_per_second"]
        spent = found["compiling_s"]
        told = f"; compiling took {max(spent):.0f} s, with kernels kept {min(spent):.0f} s" if spent else ""
        lines += ["", f"{name}, batches of {found['batch']}, {found['precision']}{told}.",
                  "", "| | images a second | of bare |", "|---|---|---|"]  # fmt: skip
        for contender, values in rates.items():
            beside = rates["bare, norms trained" if "trained" in contender else "bare"]
            ratio = statistics.median(value / other for value, other in zip(values, beside, strict=True))
            shown = "" if contender.startswith("bare") else f"{ratio:.2f}"
            middle = f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            lines.append(f"| {contender} | {middle} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write, print; networks that are not asked for stay as they were in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--timm", type=Path, required=True, metavar="TRAIN_PY")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="by default the one that is measured as faster")
    parser.add_argument("--classes", type=int, default=16, help="of a batch, with five images each")
    parser.add_argument("--without", nargs="*", choices=("compiled", "timm"), default=(), help="for a short trial")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="that are timed in each turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results, another one for a trial")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    operators = torchvision_operators() if "+cpu" in torch.__version__ else None
    path = given.results / "step.json"
    before = json.loads(path.read_text())["networks"] if path.exists() else {}
    found = {}
    with tempfile.TemporaryDirectory() as root:
        for name in given.networks:
            found[name] = measure(prepared(given, name, Path(root)), given)
    content = {
        "machine": machine("circlet", "torch", "timm", "pillow"),
        "threads": given.threads,
        "steps": given.steps,
        "rounds": given.rounds,
        "networks": before | found,
    }
    given.results.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    text = markdown(content)
    (given.results / "step.md").write_text(text)
    print(text)
    del operators


if __name__ == "__main__":
    main()
