"""`circlet plan` against measurements: what its formulas say beside what short runs on this machine take.

    python benchmarks/plan.py [--only memory] [--work /tmp/plan]

Memory: the high-water mark of PyTorch's allocator, and beside it that of the process, which has fragments and the
buffers of libraries too. Traffic: what the loopback interface of a
network namespace of its own has carried in some steps of `circlet.training.fit`, over gloo, in 2, 4 and 16 processes
(as root; elsewhere left out). Sizes: files as they are written. Time: a step with rates that were measured at other
sizes. Writes benchmarks/results/plan.{json,md}: measured, planned, and their ratio.
"""

import argparse
import ctypes
import io
import json
import multiprocessing
import os
import re
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from circlet import CircleLoss, sampling
from circlet.cli.plan import main as main_of_plan
from circlet.data.embedding_table import write_embeddings
from circlet.data.images import FileReader, ImageSet
from circlet.distributed import num_ranks, process_group, rank_in
from circlet.environment import machine
from circlet.evaluate import retrieval
from circlet.features.parts import records_of
from circlet.features.parts import write as write_features
from circlet.files import write_json, write_text
from circlet.models import Embedder, PoolingName, backbone
from circlet.plan import Plan, Rates, Scale, count, images, losses, storage
from circlet.plan.measuring import measured
from circlet.plan.part import peak
from circlet.plan.text import UNITS
from circlet.similarity import kept
from circlet.training import LoopConfig, Objective, OptimizerConfig, fit
from circlet.training.run_folder import RunFolder
from circlet.training.state import TrainingState
from circlet.training.step import Step
from circlet.vectors import Item, open_store

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs" / "scale.md"
PARTS = ("memory", "sizes", "traffic", "time")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One quantity; resident: of memory also the growth of the process, its libraries and fragments with it."""

    part: str
    what: str
    unit: str
    measured: float
    planned: float
    resident: float | None = None

    @property
    def ratio(self) -> float:
        """Planned over measured."""
        return self.planned / self.measured


class Batches:
    """The same batch again and again: this rank's part of `batch` images of `classes` classes."""

    def __init__(self, scale: Scale, steps: int) -> None:
        own = scale.own_batch
        self.images = torch.randint(0, 256, (own, scale.channels, *scale.size), dtype=torch.uint8)
        self.labels = (torch.arange(own) // 4 + rank_in(None) * own) % int(scale.classes)
        self.steps, self.asked = steps, [0.0]

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start_batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass."""
        for _ in range(start_batch, self.steps):
            self.asked.append(time.perf_counter())
            yield self.images, self.labels


def network(name: str, scale: Scale) -> Embedder:
    """A network of ours, without weights from elsewhere."""
    pooling: PoolingName = "flatten" if name == "small" else "own" if name.startswith("ir_") else "average"
    torch.manual_seed(0)
    return Embedder(backbone(name, channels=scale.channels, image_size=scale.size), scale.dim, image_size=scale.size,
                    channels=scale.channels, pooling=pooling, mean=(0.5,), std=(0.5,))  # fmt: skip


def train(name: str, scale: Scale, steps: int, folder: Path, **loop: Any) -> Batches:
    """Some steps of `fit`; the batches know when they were asked for."""
    model = network(name, scale)
    objective = Objective(CircleLoss(), scale.level, int(scale.classes), scale.dim, memory=scale.memory, device=CPU)
    batches = Batches(scale, steps)
    config = LoopConfig(
        steps=steps, log_every=10**6, checkpoint_every=10**6, chunk=scale.chunk, fsdp=scale.fsdp,
        grad_checkpointing=scale.grad_checkpointing, precision="bf16" if scale.half else "fp32",
        optimizer=OptimizerConfig(name=scale.optimizer), **loop,
    )  # fmt: skip
    fit(model, objective, batches, config, folder, device=CPU)
    return batches


# Memory: each case in a process of its own.


def status(key: str) -> float:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def grown(work: Callable[[], object]) -> float:
    """Bytes that the process holds at most while it works, above what it held before."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


SMALL = Scale(images=10_000, classes=10_000, batch=64, dim=64, size=(32, 32), channels=1, level="pair", half=False,
              on_gpu=False, workers=0)  # fmt: skip
ONE = replace(SMALL, channels=3, size=(64, 64), dim=128, batch=16)
MANY_CLASSES = replace(SMALL, images=1e6, level="class")
MEMORY: dict[str, tuple[str, Scale]] = {
    "class weights, 100,000 of 256, AdamW": ("", replace(MANY_CLASSES, classes=100_000, dim=256, batch=128)),
    "class weights, 200,000 of 128, SGD": ("", replace(MANY_CLASSES, classes=200_000, dim=128, optimizer="sgd")),
    "pairs, 4,096 of 256": ("", replace(SMALL, images=1e6, dim=256, batch=4096)),
    "ResNet-50, 16 of 64 x 64": ("resnet50", ONE),
    "ResNet-50, checkpointed": ("resnet50", replace(ONE, grad_checkpointing=True)),
    "EfficientNet-Lite0, 32 of 64 x 64": ("efficientnet_lite0", replace(ONE, batch=32)),
    "EfficientNet-Lite0, bf16": ("efficientnet_lite0", replace(ONE, batch=32, half=True)),
    "EfficientNet-Lite0, chunks of 8": ("efficientnet_lite0", replace(ONE, batch=32, chunk=8)),
    "EfficientNet-Lite0, and 50,000 classes": ("efficientnet_lite0", replace(
        ONE, images=1e6, classes=50_000, batch=32, level="joint")),
    "IR-ResNet-18, 8 of 112 x 112": ("ir_resnet18", replace(ONE, size=(112, 112), batch=8)),
}  # fmt: skip


RETRIEVAL = ((10_000, 128), (20_000, 64))


class Vectors(nn.Module):
    """A network that is next to nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, dim), as they are."""
        return rows * self.weight


def allocated(work: Callable[[], object]) -> float:
    """Bytes that PyTorch's allocator has given out at most while it works, above what it had before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    assert found.profiler is not None
    now = most = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return float(most)


def memory_of(what: str) -> tuple[float, float]:
    """Bytes that a case takes, of tensors and of the process; in a process of its own."""
    name, scale = MEMORY[what]
    work: Callable[[], None]
    if name:
        _steps(network("small", SMALL), SMALL, 2)  # what is loaded and started once
        work = partial(_steps, network(name, scale), scale, 2)
    else:
        _steps(Vectors(SMALL.dim), SMALL, 2, rows=True)
        work = partial(_steps, Vectors(scale.dim), scale, 2, rows=True)
    resident = grown(work)
    kept.clear()
    return allocated(work), resident


def _steps(model: nn.Module, scale: Scale, steps: int, *, rows: bool = False) -> None:
    """Steps as `fit` takes them, without its files."""
    objective = Objective(CircleLoss(), scale.level, int(scale.classes), scale.dim, memory=scale.memory, device=CPU)
    config = LoopConfig(steps=steps, chunk=scale.chunk, grad_checkpointing=scale.grad_checkpointing,
                        precision="bf16" if scale.half else "fp32",
                        optimizer=OptimizerConfig(name=scale.optimizer))  # fmt: skip
    state = TrainingState(model, objective, config, CPU, RunFolder(Path("nowhere")))
    take = Step(state, config, augment=None, observe=None)
    labels = torch.arange(scale.batch) // 4 % int(scale.classes)
    shape = (scale.batch, scale.dim) if rows else (scale.batch, scale.channels, *scale.size)
    images = torch.randn(shape) if rows else torch.randint(0, 256, shape, dtype=torch.uint8)
    for _ in range(steps):
        take(images, labels)


def planned_memory(what: str) -> float:
    """Bytes by formula; of the loss alone where there is no network to speak of."""
    name, scale = MEMORY[what]
    own = 4.0 * sum(parameter.numel() for parameter in network(name, scale).parameters()) if name else 0.0
    if name:
        found = count(network(name, scale), name, scale.size, scale.channels, half=scale.half)
        plan = Plan(scale, found, Rates())
        left_out = {"list of images", "checkpoint", "decoding"}
        return peak(part for part in plan.parts if part.name not in left_out) - own  # its weights are there before
    parts = [*losses.classes(scale, Rates()), losses.pairs(scale, Rates())]
    embeddings = 4.0 * 2 * scale.batch * scale.dim  # given, and through the network; their gradient is the loss's
    return peak(parts) + embeddings


def memory() -> Iterator[Row]:
    """Every case of MEMORY; lists of images; retrieval."""
    for what in MEMORY:
        tensors, resident = (value / 2**20 for value in _child("--memory-of", what))
        yield Row("memory", what, "MiB", tensors, planned_memory(what) / 2**20, resident)
    held = _child("--memory-of", "list")[0] / 2**20
    yield Row("memory", "list of 200,000 images and their sampler", "MiB", held, _listed(200_000) / 2**20)
    for number, dim in RETRIEVAL:
        scale = replace(SMALL, images=number, dim=dim)
        planned = storage.tested(scale, Rates(), number).memory - 4 * number * dim  # the rows are given
        tensors, resident = (value / 2**20 for value in _child("--memory-of", f"retrieval {number} {dim}"))
        yield Row("memory", f"retrieval of {number:,} x {dim}", "MiB", tensors, planned / 2**20, resident)


def _listed(number: int) -> float:
    return images.listed(replace(SMALL, images=number, name_bytes=len("class 000000/0000000.jpg"))).memory


def list_of_images(number: int = 200_000) -> tuple[float, ...]:
    """Bytes that Python and NumPy hold for an image folder and its P x K sampler, after its first batch."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    names = [f"class {i // 10:06d}/{i:07d}.jpg" for i in range(number)]
    found = ImageSet.from_classes([name.partition("/")[0] for name in names], names, FileReader("root", tuple(names)))
    del names
    sampler = sampling.PKSampler(found.labels, 16, 4)
    batches = iter(sampler)
    next(batches)
    return (float(tracemalloc.get_traced_memory()[0] - before),)


def retrieval_of(number: int, dim: int) -> tuple[float, float]:
    """Bytes that the metrics of some vectors take beside these."""
    vectors, labels = torch.randn(number, dim), torch.arange(number) // 10
    retrieval(vectors[:200], labels[:200], ks=(1,))
    work = partial(retrieval, vectors, labels, ks=(1,))
    resident = grown(work)
    return allocated(work), resident


def _child(*arguments: str) -> list[float]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr}")
    return [float(value) for value in done.stdout.strip().splitlines()[-1].split()]


# Sizes of files.


def sizes(work: Path) -> Iterator[Row]:
    """Checkpoint, embeddings, features, index."""
    scale = replace(SMALL, classes=5_000, dim=128, level="joint", memory=2_000)
    train("small", scale, 1, work / "run")
    found = count(network("small", scale), "small", scale.size, scale.channels, half=False)
    yield Row("sizes", "checkpoint, 5,000 classes of 128, bank of 2,000", "bytes",
              (work / "run" / "last.pt").stat().st_size, storage.checkpoint_bytes(scale, found))  # fmt: skip
    scale = replace(SMALL, images=20_000, dim=256, name_bytes=24)
    rows = np.random.default_rng(0).normal(size=(20_000, 256)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [f"class {i // 10:06d}/{i:07d}.jpg" for i in range(20_000)]
    found_images = ImageSet.from_classes([name[:12] for name in names], names, FileReader("", tuple(names)))
    npy, parquet = write_embeddings(work / "embeddings", found_images, rows)
    yield Row("sizes", "embeddings, .npy, 20,000 x 256", "bytes", npy.stat().st_size,
              storage.NPY_HEADER + 4.0 * 20_000 * 256)  # fmt: skip
    yield Row("sizes", "embeddings, Parquet", "bytes", parquet.stat().st_size, storage.parquet_bytes(scale))
    keys = [i.to_bytes(16, "big") for i in range(20_000)]
    write_features(work / "features.npy", [records_of(keys, rows, 0)])
    yield Row("sizes", "feature cache, 20,000 of 256", "bytes", (work / "features.npy").stat().st_size,
              storage.feature_bytes(20_000, 256))  # fmt: skip
    store = open_store(work / "index", 256, create=True)
    store.put([Item(name, name[:12], "0" * 32) for name in names], rows)
    store.compact()
    store.close()
    text = 24 + 1 + 12 + 1 + 32
    yield Row("sizes", "index, 20,000 x 256", "bytes", _folder_bytes(work / "index"),
              storage.index_bytes(scale, text) + storage.approximate_bytes(scale))  # fmt: skip


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# Traffic, in a network namespace of its own.

TRAFFIC: dict[str, Scale] = {
    "2 processes, classes": replace(SMALL, ranks=2, level="class"),
    "2 processes, both, memory bank": replace(SMALL, ranks=2, level="joint", memory=256),
    "4 processes, both, bf16": replace(SMALL, ranks=4, level="joint", half=True),
    "4 processes, both, FSDP": replace(SMALL, ranks=4, level="joint", fsdp=True),
    "16 processes, both": replace(SMALL, ranks=16, level="joint"),
}
FEW, MANY = 3, 9


def traffic() -> Iterator[Row]:
    """Bytes that a process sends in a step; nothing where there can be no namespace."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        print("traffic: left out, for network namespaces need root")
        return
    for what, scale in TRAFFIC.items():
        found = count(network("small", scale), "small", scale.size, scale.channels, half=scale.half)
        command = ["unshare", "-n", sys.executable, __file__, "--traffic-of", what]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{what}: {done.stderr}")
        sent = float(done.stdout.strip().splitlines()[-1]) / scale.ranks
        yield Row("traffic", what, "bytes", sent, Plan(scale, found, Rates(), checkpoint_every=10**9).sent)


def traffic_of(what: str) -> float:
    """Bytes of a step over the loopback interface, out of all processes; to be called in a namespace of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    torch.set_num_threads(1)
    few = _carried(TRAFFIC[what], FEW)
    return (_carried(TRAFFIC[what], MANY) - few) / (MANY - FEW)


def _carried(scale: Scale, steps: int) -> float:
    """Bytes of a run of so many steps."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context, before = multiprocessing.get_context("fork"), _loopback()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=_rank, args=(rank, scale, steps, port, Path(folder) / "run"))
                 for rank in range(scale.ranks)]  # fmt: skip
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
    if any(process.exitcode for process in ranks):
        raise SystemExit("traffic: a process has failed")
    return _loopback() - before


def _rank(rank: int, scale: Scale, steps: int, port: int, folder: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(scale.ranks), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    with process_group(CPU, timeout=300):
        assert num_ranks(None) == scale.ranks
        train("small", scale, steps, folder)
    os._exit(0)


def _loopback() -> float:
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    return float(next(line.split()[9] for line in lines if line.strip().startswith("lo:")))


# Time.

TIME: dict[str, tuple[str, Scale]] = {
    "EfficientNet-Lite0, 32 of 96 x 96, pairs": ("efficientnet_lite0", replace(ONE, batch=32, size=(96, 96))),
    "IR-ResNet-18, 16 of 112 x 112, and 20,000 classes": ("ir_resnet18", replace(
        ONE, images=1e6, classes=20_000, size=(112, 112), level="joint")),
    "next to no network, 4,096 of 512, pairs": ("small", replace(SMALL, images=1e6, batch=4096, dim=512, size=(8, 8))),
    "next to no network, 128 of 256, 100,000 classes": ("small", replace(
        SMALL, images=1e6, classes=100_000, batch=128, dim=256, size=(8, 8), level="class")),
}  # fmt: skip


def times(work: Path, rounds: int) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """Seconds of a step; rates and steps take turns."""
    rows, rates = [], {}
    for number, (what, (name, scale)) in enumerate(TIME.items()):
        model = network(name, scale)
        found = count(model, name, scale.size, scale.channels, half=scale.half)
        planned, taken = [], []
        for turn in range(rounds):
            known = replace(measured(network(name, scale), found, scale, CPU, None), decode=None)
            planned.append(Plan(scale, found, known, checkpoint_every=10**9).seconds)
            asked = train(name, scale, 6, work / f"time-{number}-{turn}").asked[2:]
            taken.append(statistics.median(later - before for before, later in pairwise(asked)))
        rates[what] = {each: rate.value for each, rate in known.known().items()}
        rows.append(Row("time", what, "s", statistics.median(taken), statistics.median(planned)))
        _print(rows[-1])
    return rows, rates


# What is written.


def _print(row: Row) -> None:
    print(f"{row.part}: {row.what}: measured {row.measured:,.4g} {row.unit}, planned {row.planned:,.4g}, "
          f"ratio {row.ratio:.3f}", flush=True)  # fmt: skip


SAYS = {
    "memory": "Measured: the high-water mark of PyTorch's allocator (of lists, Python's); the last column: that of the "
    "process, fragments and the buffers of libraries included, over a smaller step that had come before.",
    "sizes": "Measured: the files.",
    "traffic": "What a process sends in a step over gloo, with the headers of TCP. Measured: the loopback interface of "
    "a network namespace, the difference of two runs.",
    "time": "Seconds of a step of `fit`, planned with rates measured at other sizes in turns with it.",
}


def markdown(content: dict[str, Any]) -> str:
    """The tables."""
    lines = []
    for part in PARTS:
        rows = [Row(**row) for row in content["rows"] if row["part"] == part]
        if not rows:
            continue
        last = part == "memory"
        where = ", ".join(f"{key} {value}" for key, value in content["machines"][part].items())
        lines += [SAYS[part], "", "| what | measured | planned | ratio |" + " the process |" * last]
        lines += ["|---|---|---|---|" + "---|" * last]
        for row in rows:
            line = f"| {row.what} | {_number(row.measured)} {row.unit} | {_number(row.planned)} {row.unit} "
            beside = "" if row.resident is None else f"{_number(row.resident)} {row.unit}"
            lines.append(f"{line}| {row.ratio:.3f} |" + f" {beside} |" * last)
        lines += ["", f"Taken on: {where}.", ""]
    if "time" in content["machines"]:
        for what, rates in content["rates"].items():
            told = ", ".join(f"{name} {value:.3g} {UNITS[name]}" for name, value in rates.items())
            lines.append(f"- {what}: {told}.")
    return "\n".join(lines).rstrip() + "\n"


def examples(text: str) -> str:
    """docs/scale.md with the output of its commands as it is now."""
    before, rest = re.compile(r"(<!-- circlet plan (.*?) -->\n).*?(<!-- end -->)", re.DOTALL), []
    for _, arguments, _ in before.findall(text):
        out = io.StringIO()
        with redirect_stdout(out):
            main_of_plan(shlex.split(arguments))
        rest.append(f"\n    circlet plan {arguments}\n\n" + indent(out.getvalue().rstrip(), "    ") + "\n\n")
    written = iter(rest)
    return before.sub(lambda found: found[1] + next(written) + found[3], text)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3, help="of each case of time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results, another for a trial")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--traffic-of", help=argparse.SUPPRESS)
    parser.add_argument("--docs", action="store_true", help="write the examples of docs/scale.md anew, and no more")
    given = parser.parse_args()
    if given.docs:
        write_text(DOCS, examples(DOCS.read_text(encoding="utf-8")))
        return
    if given.memory_of is not None:
        torch.set_num_threads(1)
        name, *sizes_of = given.memory_of.split()
        if name == "retrieval":
            print(*retrieval_of(*map(int, sizes_of)))
        else:
            print(*(list_of_images() if name == "list" else memory_of(given.memory_of)))
        return
    if given.traffic_of is not None:
        print(traffic_of(given.traffic_of))
        return
    path = given.results / "plan.json"
    content = json.loads(path.read_text()) if path.exists() else {"rows": [], "machines": {}, "rates": {}}
    with tempfile.TemporaryDirectory() as folder:
        for part in given.only:
            rows: list[Row] = []
            if part == "time":
                rows, content["rates"] = times(Path(folder), given.rounds)
            else:
                for row in {"memory": memory, "sizes": lambda: sizes(Path(folder)), "traffic": traffic}[part]():
                    rows.append(row)
                    _print(row)
            content["rows"] = [row for row in content["rows"] if row["part"] != part] + [asdict(row) for row in rows]
            content["machines"][part] = {**machine("torch", "circlet"), "threads": torch.get_num_threads()}
            given.results.mkdir(exist_ok=True)
            write_json(path, content)
            write_text(given.results / "plan.md", markdown(content))


if __name__ == "__main__":
    main()
