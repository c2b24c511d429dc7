"""`circlet plan`: memory, time and traffic of a training that is larger than the machine at hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from circlet.cli.common import choose_device, columns
from circlet.files import write_json
from circlet.models import Embedder, PoolingName, backbone
from circlet.plan import Budget, Network, Plan, Rate, Rates, Scale, count, of_h100
from circlet.plan.scale import GIB, Level, Optimizer
from circlet.plan.text import assumptions, content, rows, sentences
from circlet.terminal import printable

DESCRIPTION = """Say what a training would take, before anybody pays for it: memory, time and traffic of every part.

By formulas (docs/scale.md), from sizes that are exact and rates that were measured: on an H100 (benchmarks/results/
gpu.md), on this machine (--measure), or by you (the flags under "rates"). What nobody has measured is shown as "?".

examples:
  circlet plan --images 1e6 --classes 1e5 --gpus 8
  circlet plan --images 1e9 --classes 1e7 --gpus 64 --batch-size 16384 --gpu-memory 80 --machine-memory 2000
  circlet plan --images 5e6 --classes 1e5 --processes 2 --backbone efficientnet_lite0 --batch-size 128 --measure
  circlet plan --images 1e8 --classes 1e6 --gpus 32 --rates.bandwidth 40 --json plan.json"""


@dataclass(frozen=True)
class GivenRates:
    """What a machine does in a second, where you know it better."""

    tflops: float | None = None
    """1e12 operations a second of the network, forward and backward, as it reaches them."""
    loss_tflops: float | None = None
    """1e12 operations a second of the loss."""
    decode: float | None = None
    """Images a second that one worker decodes."""
    update: float | None = None
    """Millions of weights a second that the optimiser moves."""
    bandwidth: float | None = None
    """GB (1e9 bytes) a second that a process sends to others while all do."""
    latency: float | None = None
    """Microseconds of a collective that carries nothing."""
    disk: float | None = None
    """MB (1e6 bytes) a second that a checkpoint is written with."""

    def rates(self) -> dict[str, Rate]:
        """As the plan takes them."""
        given = {
            "network": (self.tflops, 1e12, "--rates.tflops"),
            "pairs": (self.loss_tflops, 1e12, "--rates.loss-tflops"),
            "classes": (self.loss_tflops, 1e12, "--rates.loss-tflops"),
            "decode": (self.decode, 1.0, "--rates.decode"),
            "update": (self.update, 1e6, "--rates.update"),
            "wire": (self.bandwidth, 1e9, "--rates.bandwidth"),
            "disk": (self.disk, 1e6, "--rates.disk"),
        }
        found = {}
        for name, (value, unit, flag) in given.items():
            if value is not None:
                _check(flag, value)
                found[name] = Rate(value * unit, f"given ({flag} {value:g})")
        if self.latency is not None:
            _check("--rates.latency", self.latency)
            found["message"] = Rate(1e6 / self.latency, f"given (--rates.latency {self.latency:g})")
        return found


@dataclass(frozen=True)
class PlanArguments:
    """Arguments of `circlet plan`."""

    images: float = 1e6
    """Images to train on."""
    classes: float = 1e5
    """Classes of them."""
    gpus: int | None = None
    """GPUs, each with a process; by default 1."""
    processes: int | None = None
    """In place of --gpus: processes on CPUs."""
    gpus_per_machine: int = 8
    """GPUs, or processes, of one machine."""
    batch_size: int = 256
    """Images of a step, of all processes together (--batch.classes times --batch.samples of circlet train)."""
    dim: int = 512
    """Length of an embedding."""
    backbone: str = "resnet50"
    """A network, as --model.backbone of circlet train."""
    pooling: PoolingName = "average"
    """From feature map to vector."""
    size: tuple[int, int] = (224, 224)
    """Height and width that the network sees."""
    level: Level = "joint"
    """class: class weights; pair: the batch itself; joint: both."""
    sample: float = 1.0
    """Share of the class weights that a step meets."""
    optimizer: Optimizer = "adamw"
    """adamw, adam or sgd."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of forward and backward; weights and loss are in fp32."""
    chunk: int = 0
    """Gradient cache: images whose activations a process holds at a time, 0: all."""
    grad_checkpointing: bool = False
    """Of each block of the network only the input is kept, and what is within computed again."""
    fsdp: bool = False
    """The network's weights, gradients and moments are spread over the processes."""
    memory_bank: int = 0
    """Rows of the memory bank."""
    in_memory: bool = False
    """Decoded images are kept in memory, by every process."""
    streamed: bool = False
    """Images come in shards, of which no process has a list."""
    workers: int = 8
    """Processes that decode, for each GPU."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    test_images: float = 1e5
    """Images of the test."""
    gpu_memory: float | None = None
    """GiB of each GPU, or of each process."""
    machine_memory: float | None = None
    """GiB of each machine."""
    rates: GivenRates = field(default_factory=GivenRates)
    measure: bool = False
    """Measure this machine, for some seconds, in place of what was measured on an H100."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="IMAGES")] = None
    """With --measure: images to decode, a folder or a manifest."""
    device: str = "auto"
    """With --measure: auto, cpu, cuda or cuda:N."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write all of it to this file."""


def main(arguments: list[str]) -> None:
    """Count, plan, print."""
    parsed = tyro.cli(PlanArguments, args=arguments, prog="circlet plan", description=DESCRIPTION)
    scale, budget = _scale(parsed), _budget(parsed)
    given = parsed.rates.rates()
    _check("--test-images", parsed.test_images)
    if parsed.root is not None and not parsed.measure:
        raise ValueError(f"--root: found {parsed.root} without --measure, expected both or neither")
    if parsed.checkpoint_every < 1:
        raise ValueError(f"--checkpoint-every: found {parsed.checkpoint_every}, expected at least 1")
    model = Embedder(backbone(parsed.backbone, image_size=scale.size, pooling=parsed.pooling), scale.dim,
                     image_size=scale.size, pooling=parsed.pooling)  # fmt: skip
    network = count(model, parsed.backbone, scale.size, scale.channels, half=scale.half)
    found = _rates(parsed, model, network, scale).but(given)
    plan = Plan(scale, network, found, parsed.checkpoint_every, parsed.test_images)
    print(columns(rows(plan)))
    print("\n" + "\n".join(map(printable, sentences(plan, budget))))
    print("\nIt rests on:\n" + "\n".join(f"- {printable(line)}" for line in assumptions(plan)))
    if parsed.json is not None:
        write_json(parsed.json, content(plan, budget))


def _rates(parsed: PlanArguments, model: Embedder, network: Network, scale: Scale) -> Rates:
    if parsed.measure:
        from circlet.plan.measuring import measured

        return measured(model, network, scale, choose_device(parsed.device), parsed.root)
    known = of_h100()
    return known if scale.on_gpu else Rates(decode=known.decode, search=known.search)


def _scale(parsed: PlanArguments) -> Scale:
    if parsed.gpus is not None and parsed.processes is not None:
        raise ValueError(f"--processes: found with --gpus {parsed.gpus}, expected one of the two")
    try:
        return Scale(
            images=parsed.images, classes=parsed.classes, ranks=_ranks(parsed), ranks_per_host=parsed.gpus_per_machine,
            batch=parsed.batch_size, dim=parsed.dim, size=parsed.size, level=parsed.level, sample=parsed.sample,
            optimizer=parsed.optimizer, half=parsed.precision == "bf16", chunk=parsed.chunk, memory=parsed.memory_bank,
            grad_checkpointing=parsed.grad_checkpointing, fsdp=parsed.fsdp,
            in_memory=parsed.in_memory, streamed=parsed.streamed, workers=parsed.workers,
            on_gpu=parsed.processes is None,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(_as_flag(str(error), parsed)) from None


def _ranks(parsed: PlanArguments) -> int:
    return parsed.processes if parsed.processes is not None else 1 if parsed.gpus is None else parsed.gpus


def _as_flag(message: str, parsed: PlanArguments) -> str:
    name, _, rest = message.partition(":")
    flags = {
        "ranks": "gpus" if parsed.processes is None else "processes", "ranks_per_host": "gpus-per-machine",
        "batch": "batch-size", "memory": "memory-bank",
    }  # fmt: skip
    return f"--{flags.get(name, name)}:{rest}"


def _budget(parsed: PlanArguments) -> Budget:
    for flag, value in (("--gpu-memory", parsed.gpu_memory), ("--machine-memory", parsed.machine_memory)):
        if value is not None:
            _check(flag, value)
    process, host = (None if value is None else value * GIB for value in (parsed.gpu_memory, parsed.machine_memory))
    return Budget(process, host)


def _check(flag: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{flag}: found {value:g}, expected a finite number above 0")
