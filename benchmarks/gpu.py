"""The loss on a GPU, forward and backward, beside its twins and its peers: time as called, time on the GPU, memory.

    benchmarks/gpu.sh                                       # the tests marked gpu, then all of this
    python benchmarks/gpu.py --parts crossover losses       # some of it
    python benchmarks/gpu.py --smallest                     # whether it runs

Contenders of a case run one after the other in one process, each warmed up; medians. "ms": from the start of one step
to that of the next, by CUDA events, so with what the processor needs to ask for it; "GPU ms": its kernels alone (by
torch.profiler). Ratio: to three bare products of cuBLAS in the same precision, by GPU ms. Memory: high-water mark of
the allocator above operands and gradients. Writes benchmarks/results/gpu.{csv,md}. What is not installed
(pytorch-metric-learning, liger-kernel, cut-cross-entropy) is left out and named.
"""

import argparse
import csv
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile

import circlet
from circlet import aggregate, environment
from circlet.bench.cases import Case, Data
from circlet.bench.contenders import FLOOR, GAMMA, MARGIN, Step, dense_twin, pytorch_metric_learning, three_products
from circlet.bench.contenders import circlet as as_called
from circlet.rules import Circle
from circlet.similarity import gpu, tiles, whole
from circlet.similarity.pairs import PairLse, Pairs

RESULTS = Path(__file__).parent / "results"
PARTS = ("crossover", "losses", "training")
PACKAGES = ("torch", "triton", "pytorch-metric-learning", "liger-kernel", "cut-cross-entropy")
FIELDS = ("part", "case", "contender", "ms", "gpu_ms", "ratio", "extra_mib", "note")
SECONDS = 0.3  # of each contender, once warm


@dataclass(frozen=True)
class Row:
    """One contender of one case."""

    part: str
    case: str
    contender: str
    ms: float | None = None
    gpu_ms: float | None = None
    ratio: float | None = None
    extra_mib: float | None = None
    note: str = ""


def through(backend: Callable[..., PairLse]) -> Callable[[Data], Step]:
    """Circle loss by one backend."""

    def build(data: Data) -> Step:
        references = None if data.y is None else torch.arange(len(data.y), device=data.y.device)

        def loss() -> Tensor:
            lse = backend(Pairs(data.x, data.y, data.labels, references), Circle(MARGIN, GAMMA), normalize=True)
            return aggregate.reduce(aggregate.softplus(lse.pos, lse.neg), lse.valid, "mean")

        return data.step(loss)

    return build


def softmax(data: Data) -> Step:
    """Our plain softmax, of inner products."""
    return data.step(lambda: circlet.functional.softmax_loss(data.x, data.labels, data.y))


def cross_entropy(data: Data) -> Step:
    """Torch's cross-entropy of a matrix of logits."""
    return data.step(lambda: F.cross_entropy(F.linear(data.x, _weight(data)), data.labels))


def liger(data: Data) -> Step:
    """Liger's fused linear layer and cross-entropy, in chunks."""
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

    loss = LigerFusedLinearCrossEntropyLoss()
    return data.step(lambda: loss(_weight(data), data.x, data.labels))


def cut(data: Data) -> Step:
    """Apple's Cut Cross-Entropy, exact (without its filter of small gradients)."""
    from cut_cross_entropy import linear_cross_entropy

    return data.step(lambda: linear_cross_entropy(data.x, _weight(data), data.labels, filter_eps=None))


def _weight(data: Data) -> Tensor:
    assert data.y is not None
    return data.y


# Each with how many matrices of similarities in fp32 it takes at once.
CONTENDERS: dict[str, tuple[Callable[[Data], Step], float]] = {
    "circlet": (as_called, 0),
    FLOOR: (three_products, 1),
    "its kernels": (through(gpu.pair_lse), 0),
    "its tiles": (through(tiles.pair_lse), 0),
    "one matrix, by hand": (through(whole.pair_lse), 8),
    "dense twin": (dense_twin, 12),
}
PAIRWISE = {"pytorch-metric-learning": (pytorch_metric_learning, 17.0)}
CLASSES = {
    "softmax: circlet": (softmax, 0.0),
    "softmax: F.cross_entropy": (cross_entropy, 4.0),
    "softmax: Liger": (liger, 0.0),
    "softmax: Cut Cross-Entropy": (cut, 0.0),
}
CROSSING = ("its kernels", "its tiles", "one matrix, by hand")


def cases(smallest: bool) -> Iterator[tuple[Case, str]]:
    """Each with the precision of its products."""
    if smallest:
        yield Case(1024, 128, device="cuda"), "fp32"
        yield Case(256, 128, 10_000, "bf16", device="cuda"), "bf16"
        return
    for batch in (512, 1024, 4096, 16384, 65536):
        yield Case(batch, 512, device="cuda"), "fp32"
    for batch in (4096, 16384, 65536):
        yield Case(batch, 512, device="cuda"), "tf32"
        yield Case(batch, 512, None, "bf16", "cuda"), "bf16"
    for batch in (4096, 16384):
        yield Case(batch, 128, device="cuda"), "fp32"
        yield Case(batch, 128, None, "bf16", "cuda"), "bf16"
    for num_classes in (10_000, 100_000, 1_000_000):
        yield Case(1024, 512, num_classes, device="cuda"), "fp32"
        yield Case(1024, 512, num_classes, "bf16", "cuda"), "bf16"


def crossing(smallest: bool) -> Iterator[tuple[Case, str]]:
    """Sizes around those where one backend gives way to another."""
    for batch in (1024,) if smallest else (256, 512, 1024, 1448, 2048, 2896, 4096):
        yield Case(batch, 512, device="cuda"), "fp32"
    for num_classes in () if smallest else (1024, 4096, 8192, 16384):
        yield Case(512, 512, num_classes, device="cuda"), "fp32"


def losses(part: str, chosen: Iterator[tuple[Case, str]], names: tuple[str, ...] | None, gib: float) -> Iterator[Row]:
    """Rows of all contenders of these cases, or of those named."""
    for case, precision in chosen:
        offered = CONTENDERS | (PAIRWISE if case.num_classes is None else CLASSES)
        name = f"{case.name.removesuffix(' cuda').removesuffix(' bf16')} {precision}"
        with products_in(precision):
            for contender in names or offered:
                build, matrices = offered[contender]
                if (needs := matrices * case.matrix_mib / 1024) > gib:
                    yield Row(part, name, contender, note=f"needs about {needs:.0f} GiB")
                    continue
                yield measured(part, name, contender, build, case)
        torch.cuda.empty_cache()


def measured(part: str, name: str, contender: str, build: Callable[[Data], Step], case: Case) -> Row:
    """Time and memory of one contender, or why there is none."""
    try:
        data = Data(case)
        step = build(data)
        ms, gpu_ms = timed(step)
        gradients = 0 if contender == FLOOR else sum(leaf.numel() * leaf.element_size() for leaf in data.leaves)
        return Row(part, name, contender, ms, gpu_ms, None, (peak_bytes(step) - gradients) / 2**20)
    except ImportError:
        return Row(part, name, contender, note="not installed")
    except Exception as error:  # a peer's, whatever it is: the others still count
        return Row(part, name, contender, note=f"failed: {str(error).strip().splitlines()[0][:90]}")


def timed(step: Step) -> tuple[float, float]:
    """Milliseconds from step to step, and of the kernels of one."""
    for _ in range(3):
        step()
    first = _between(step, 2)
    times = _between(step, max(5, min(50, int(SECONDS * 1e3 / max(first)))))
    count = max(1, min(10, int(SECONDS * 1e3 / max(first))))
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(count):
            step()
        torch.cuda.synchronize()
    on_gpu = sum(event.self_device_time_total for event in profiler.key_averages())
    return statistics.median(times), on_gpu / count / 1e3


def _between(step: Step, count: int) -> list[float]:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    for event in events[:-1]:
        event.record()
        step()
    events[-1].record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in pairwise(events)]


def peak_bytes(step: Step) -> int:
    """High-water mark of one step."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """TF32 for fp32 products, or not."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def training(smallest: bool) -> Iterator[Row]:
    """A step of ResNet-50 in bf16 with Circle loss, eager and compiled, beside one with no loss to speak of."""
    try:
        import timm
    except ImportError:
        yield Row("training", "ResNet-50", "circlet", note="timm is not installed")
        return
    batch, num_classes = (32, 1000) if smallest else (256, 100_000)
    model = timm.create_model("resnet50", num_classes=512).cuda().to(memory_format=torch.channels_last)
    classes = circlet.ClassWeights(num_classes, 512).cuda()
    images = torch.randn(batch, 3, 224, 224, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device="cuda") // 4
    optimizer = torch.optim.SGD([*model.parameters(), *classes.parameters()], 1e-3)
    loss = circlet.CircleLoss()
    ends: dict[str, Callable[[Tensor], Tensor]] = {
        "no loss": lambda embeddings: embeddings.float().square().mean(),
        "pair-wise Circle loss": lambda embeddings: loss(embeddings, labels),
        f"both levels, {num_classes:,} classes": lambda embeddings: loss(embeddings, labels, [classes, None]),
    }
    for kind in ("eager", "compiled"):
        network = torch.compile(model) if kind == "compiled" else model
        for end, criterion in ends.items():
            step = partial(_training_step, network, criterion, images, optimizer)
            name = f"ResNet-50, {batch} images of 224, bf16, {kind}"
            yield Row("training", name, end, *timed(step), None, peak_bytes(step) / 2**20)


def _training_step(
    network: Callable[[Tensor], Tensor], criterion: Callable[[Tensor], Tensor], images: Tensor, optimizer: Optimizer
) -> None:
    with torch.autocast("cuda", torch.bfloat16):
        value = criterion(network(images))
    value.backward()
    optimizer.step()
    optimizer.zero_grad()


def with_ratios(rows: list[Row]) -> list[Row]:
    """Each beside the bare products of its case."""
    floors = {(row.part, row.case): row.gpu_ms for row in rows if row.contender == FLOOR}
    return [
        replace(row, ratio=row.gpu_ms / floor) if row.gpu_ms and (floor := floors.get((row.part, row.case))) else row
        for row in rows
    ]


def machine(tests: str) -> str:
    """What it ran on."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    about = {**environment.machine(*PACKAGES), "circlet": circlet.__version__}
    told = ", ".join(f"{key} {value}" for key, value in about.items())
    return f"{card}; CUDA {torch.version.cuda}; {told}." + (f" Tests marked gpu: {tests}." if tests else "")


def markdown(rows: list[Row], about: str) -> str:
    """The tables."""
    titles = {
        "crossover": "Where one backend gives way to another",
        "losses": "Circle loss, gamma=256, m=.25, forward and backward; pair-wise with 4 samples a class, in any order",
        "training": "A whole training step",
    }
    lines = [about, ""]
    for part, title in titles.items():
        found = [row for row in rows if row.part == part]
        if found:
            lines += [
                f"## {title}",
                "",
                "| case | contender | ms | GPU ms | ratio | extra MiB |",
                "|---|---|---|---|---|---|",
            ]
        for row in found:
            if row.ms is None or row.gpu_ms is None or row.extra_mib is None:
                lines.append(f"| {row.case} | {row.contender} | {row.note} | | | |")
                continue
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            lines.append(
                f"| {row.case} | {row.contender} | {row.ms:.2f} | {row.gpu_ms:.2f} | {ratio} | {row.extra_mib:.0f} |"
            )
        lines.append("")
    lines += [
        "ms: from step to step as called, launches included; GPU ms: its kernels alone; ratio: GPU ms to those of",
        "three bare cuBLAS products in the same precision; extra MiB: beyond operands and gradients (training: beyond",
        "weights). Softmax is a plain cross-entropy of inner products, without normalisation or margins: simpler.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--smallest", action="store_true", help="one small case of each; writes nothing")
    parser.add_argument("--tests", default="", help="what the tests said, for the record")
    given = parser.parse_args()
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30 - 8
    about = machine(given.tests)
    print(about, flush=True)
    rows: list[Row] = []
    for part in given.parts:
        found = {
            "crossover": lambda: losses("crossover", crossing(given.smallest), CROSSING, gib),
            "losses": lambda: losses("losses", cases(given.smallest), None, gib),
            "training": lambda: training(given.smallest),
        }[part]()
        for row in found:
            rows.append(row)
            print(row, flush=True)
            if not given.smallest:
                write(with_ratios(rows), about)


def write(rows: list[Row], about: str) -> None:
    """Both files, after each row, so that a run that is cut short leaves what it has."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "gpu.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(
            [f"{value:.4g}" if isinstance(value, float) else value for value in map(row.__getattribute__, FIELDS)]
            for row in rows
        )
    (RESULTS / "gpu.md").write_text(markdown(rows, about))


if __name__ == "__main__":
    main()
