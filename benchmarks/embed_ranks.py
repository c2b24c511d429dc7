"""Embedding and metrics on several processes against one, each pinned to a core of its own with one thread.

    python benchmarks/embed_ranks.py [--images 600] [--rows 24000] [--rounds 3] [--ranks 2]

Embedding: JPEGs of noise, decoded and put through efficientnet_lite0 (random weights) at 224 x 224, as
`circlet embed` does it. Neighbours: Recall@1 of rows of 512 numbers that are spread over the processes; circlet lets
queries go round, beside it every process gathers all rows, or these go round in a ring. Start of the processes is not
counted; contenders take turns, best of the rounds. Writes benchmarks/results/embed_ranks.{csv,md}.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from circlet.data import every_image
from circlet.data.pixels import Decoding, load_pixels
from circlet.distributed import led_to, num_ranks, process_group, rank_in, shares
from circlet.environment import machine
from circlet.evaluate import retrieval
from circlet.models import Embedder, View, backbone, embed_pixels
from circlet.similarity import unit_rows
from circlet.vectors.best import Best

RESULTS = Path(__file__).parent / "results"
BLOCK, CLASSES, CPU = 4096, 1000, torch.device("cpu")


def write_jpegs(root: Path, number: int) -> None:
    """Write JPEGs of 320 x 240 pixels: noise that is smooth, as photographs are."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8))
        path = root / f"{index % 10}" / f"{index}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=90)


def embedding(root: Path) -> Callable[[], object]:
    """All images of a folder by all ranks."""
    torch.manual_seed(0)
    model = Embedder(backbone("efficientnet_lite0", channels=3), 128, image_size=(224, 224)).eval()
    pixels = load_pixels(every_image(root), Decoding((224, 224), fit="crop"))
    return lambda: led_to(lambda: embed_pixels(model, pixels, View((224, 224)), CPU))


def rows_of(number: int) -> tuple[Tensor, Tensor]:
    """The rows of this rank: of clusters, unit length, and their labels."""
    labels = torch.arange(number) % CLASSES
    centres = torch.randn(CLASSES, 512, generator=torch.Generator().manual_seed(0))
    rows = unit_rows(centres[labels] + 2.0 * torch.randn(number, 512, generator=torch.Generator().manual_seed(1)))
    own = shares(number, BLOCK, num_ranks(None))[rank_in(None)]
    return rows[own].clone(), labels[own].clone()


def by_circlet(rows: Tensor, labels: Tensor) -> float:
    """Queries go round, and each rank compares them with its own rows."""
    return retrieval(rows, labels, ks=(1,), over_ranks=True).recall_at_k[1]


def by_gathering(rows: Tensor, labels: Tensor) -> float:
    """Every rank has all rows, and ranks its own queries."""
    return _recall(rows, labels, _gathered(rows), _gathered(labels))


def by_ring(rows: Tensor, labels: Tensor) -> float:
    """The rows of each rank go from one to the next, past the queries of all."""
    best, found, first = Best.empty(rows, 24), rows, torch.tensor([shares_start(rows)])
    every = _gathered(labels)
    for step in range(num_ranks(None)):
        for start in range(0, len(found), BLOCK):
            best.update(rows @ found[start : start + BLOCK].T, int(first) + start)
        if step + 1 < num_ranks(None):
            found, first = _passed_on(found), _passed_on(first)
    return _share_of_hits(best, rows, labels, every)


def shares_start(rows: Tensor) -> int:
    """The number of this rank's first row."""
    sizes = _gathered(torch.tensor([len(rows)])).tolist()
    return sum(sizes[: rank_in(None)])


def _passed_on(values: Tensor) -> Tensor:
    rank, ranks = rank_in(None), num_ranks(None)
    size, theirs = torch.tensor([len(values)]), torch.zeros(1, dtype=torch.int64)
    for sent, got in ((size, theirs), (values.contiguous(), None)):
        got = values.new_empty(int(theirs), *values.shape[1:]) if got is None else got
        work = dist.isend(sent, (rank + 1) % ranks)
        dist.recv(got, (rank - 1) % ranks)
        assert work is not None
        work.wait()
    return got


def _gathered(values: Tensor) -> Tensor:
    found: list[Tensor] = [torch.empty(0)] * num_ranks(None)
    if num_ranks(None) == 1:
        return values
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in found]
    dist.all_gather(sizes, torch.tensor([len(values)]))
    most = max(map(int, sizes))
    padded = torch.cat([values, values.new_zeros(most - len(values), *values.shape[1:])])
    found = [torch.empty_like(padded) for _ in found]
    dist.all_gather(found, padded)
    return torch.cat([part[: int(size)] for part, size in zip(found, sizes, strict=True)])


def _recall(rows: Tensor, labels: Tensor, items: Tensor, item_labels: Tensor) -> float:
    best = Best.empty(rows, 24)
    for start in range(0, len(items), BLOCK):
        best.update(rows @ items[start : start + BLOCK].T, start)
    return _share_of_hits(best, rows, labels, item_labels)


def _share_of_hits(best: Best, rows: Tensor, labels: Tensor, item_labels: Tensor) -> float:
    own = torch.arange(len(rows)) + shares_start(rows)
    nearest = torch.where(best.indices[:, 0] == own, best.indices[:, 1], best.indices[:, 0])  # without itself
    hits = torch.stack([(item_labels[nearest] == labels).sum(), torch.tensor(len(rows))])
    if num_ranks(None) > 1:
        dist.all_reduce(hits)
    return float(hits[0] / hits[1])


def worker(root: Path, number: int, rounds: int) -> None:
    """What one process does; rank 0 prints seconds by contender."""
    rank = int(os.environ["RANK"])
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})  # so that decoding has one thread too
    torch.set_num_threads(1)
    with process_group(CPU, 600):
        rows, labels = rows_of(number)
        works: dict[str, Callable[[], object]] = {"embed": embedding(root)}
        for name, work in {"queries go round": by_circlet, "all gathered": by_gathering, "ring": by_ring}.items():
            works[name] = lambda work=work: work(rows, labels)
        seconds = {name: float("inf") for name in works}
        answers = {}
        for _ in range(rounds):
            for name, work in works.items():
                dist.barrier()
                began = time.perf_counter()
                answers[name] = work()
                dist.barrier()
                seconds[name] = min(seconds[name], time.perf_counter() - began)
        if rank == 0:
            print(json.dumps({"seconds": seconds, "recall": {k: v for k, v in answers.items() if k != "embed"}}))


def measured(ranks: int, root: Path, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The seconds on that many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), __file__,
               "--worker", str(root), "--rows", str(given.rows), "--rounds", str(given.rounds)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def report(given: argparse.Namespace, one: dict[str, dict[str, float]], many: dict[str, dict[str, float]]) -> None:
    """Write the table."""
    sizes = {"embed": f"{given.images} images", **dict.fromkeys(one["recall"], f"{given.rows} x 512 rows")}
    names = ("work", "size", "seconds on 1", f"seconds on {given.ranks}", "times")
    table = [
        [name, sizes[name], f"{alone:.2f}", f"{many['seconds'][name]:.2f}", f"{alone / many['seconds'][name]:.2f}"]
        for name, alone in one["seconds"].items()
    ]
    with open(given.out / "embed_ranks.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *table])
    taken = ", ".join(f"{name} {value}" for name, value in machine("circlet", "torch").items())
    held = {"queries go round": "its own rows", "all gathered": "all rows", "ring": "its own rows and those of another"}
    lines = [
        f"# Embedding and neighbours on {given.ranks} processes\n",
        f"{taken}. One thread and one core each; best of {given.rounds}.\n",
        "`circlet embed` shares images out in whole batches. Neighbours of rows that are spread over the processes: "
        "queries go round (what `over_ranks=True` does), all rows gathered, or a ring of rows. On one process "
        "circlet multiplies each pair of rows once, over ranks from both sides.\n",
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
        *("| " + " | ".join(row) + " |" for row in table),
        "\nWhat a process holds: " + "; ".join(f"{name}: {what}" for name, what in held.items()) + ".",
    ]
    (given.out / "embed_ranks.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    """Both numbers of processes, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        worker(given.worker, given.rows, given.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), given.images)
        one, many = (measured(ranks, Path(folder), given) for ranks in (1, given.ranks))
    for name, found in many["recall"].items():
        if found != one["recall"][name]:
            raise SystemExit(f"{name}: found Recall@1 {found} on {given.ranks} processes, {one['recall'][name]} on one")
    report(given, one, many)


if __name__ == "__main__":
    main()
