"""What a report costs: time, memory and size of the page for a test set of 50,000 images.

    python benchmarks/report.py [--images 50000] [--dim 512] [--threads 2]

Embeddings are drawn (20 a class, around a centre), pictures are JPEG files of 500 x 375 on disk, as photographs are.
Times are seconds on the clock and of the CPU: on a machine with other work the clock says more than the report costs.
Writes benchmarks/results/report.{json,md}.
"""

import importlib.metadata
import json
import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from circlet.analyse import Hardest
from circlet.data import FileReader, ImageSet
from circlet.losses import CircleLoss
from circlet.report import Embedded, ReportData, build_report
from circlet.report.survey import MAX_PAIRS
from circlet.training import environment

RESULTS = Path(__file__).parent / "results"
PER_CLASS, NUM_FILES, LOGGED_STEPS = 20, 200, 250


@dataclass(frozen=True)
class Arguments:
    """What to build a report of."""

    images: int = 50_000
    """Test images."""
    dim: int = 512
    """Length of an embedding."""
    threads: int = 2
    """CPU threads."""


def main(told: Arguments) -> None:
    """Build, measure, print, write."""
    torch.set_num_threads(told.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = made_up(told, Path(folder))
        clock, cpu = time.monotonic(), time.process_time()
        page = build_report(run)
        clock, cpu = time.monotonic() - clock, time.process_time() - cpu
    made = environment()
    del made["command"]
    made |= {name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn", "pillow")}
    results = {
        "environment": {**made, "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "images": told.images,
        "dim": told.dim,
        "pairs": min(told.images * (told.images - 1) // 2, MAX_PAIRS // told.images * (told.images - 1)),
        "seconds": round(clock, 1),
        "cpu_seconds": round(cpu, 1),
        "page_mb": round(len(page.encode()) / 1e6, 2),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    write(results)


def made_up(told: Arguments, folder: Path) -> ReportData:
    """A run with so many test images."""
    rng = np.random.default_rng(0)
    for i in range(NUM_FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
    labels = np.arange(told.images) // PER_CLASS
    names = tuple(f"class {i}" for i in range(labels[-1] + 1))
    files = tuple(f"{i % NUM_FILES}.jpg" for i in range(told.images))
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(len(names), told.dim, generator=generator)
    embeddings = centres[torch.from_numpy(labels)] + 1.2 * torch.randn(told.images, told.dim, generator=generator)
    steps = range(20, 20 * LOGGED_STEPS + 1, 20)
    return ReportData(
        title="50,000 images",
        metrics={"raw pixels": {"recall@1": 0.1}, "embedding": {"recall@1": 0.9}},
        query=ImageSet(labels, names, files, FileReader(str(folder), files)),
        embedded=Embedded(embeddings, None),
        log=[{"step": step, "loss": 100.0 / step, "s_p": 0.5, "s_n": 0.1} for step in steps],
        trace=[Hardest(step, rng.uniform(0, 1, 256), rng.uniform(0, 1, 256)) for step in steps],
        loss=CircleLoss(),
    )


def write(results: dict[str, object]) -> None:
    """The JSON file, and the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "report.json").write_text(json.dumps(results, indent=2) + "\n")
    made = results["environment"]
    assert isinstance(made, dict)
    versions = ", ".join(f"{name} {made[name]}" for name in ("torch", "numpy", "scikit-learn", "pillow"))
    lines = [
        "# The report of a run: what it costs",
        "",
        f"{made['cpu_threads']} threads on {made['cpus']} CPUs ({made['cpu']}, {made['vectors']}) with a load of "
        f"{made['load']} (other work included), {made['platform']}, {versions}, {made['date'][:10]}.",
        "",
        "| test images | embedding | pairs looked at | on the clock | CPU | peak memory | page |",
        "|---|---|---|---|---|---|---|",
        f"| {results['images']:,} | {results['dim']} | {results['pairs']:,} | {results['seconds']} s | "
        f"{results['cpu_seconds']} s | {results['peak_memory_mib']} MiB | {results['page_mb']} MB |",
    ]
    text = "\n".join(lines) + "\n"
    (RESULTS / "report.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
