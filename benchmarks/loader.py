"""Speed of the training images: the loader with one worker against the bare decoder on one core.

    python benchmarks/loader.py [--images 400] [--rounds 20]

JPEGs of noise with the spectrum of photographs are written to a temporary folder. Bare: Pillow opens, converts and
resizes them one after another, in this process. Pipeline: what training does until the augmentation, which is
P x K batches of uint8 tensors that one worker decodes and collates and this process receives. The two take turns
(so that a busy machine is unfair to neither), best of the rounds; as the pipeline needs a second core for a moment in
every batch, the CPU time of both (worker and this process) is compared too, which a busy machine blurs less.
Writes benchmarks/results/loader.{json,md}.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from circlet.data import DataError, ImageSet, decode, image_folder
from circlet.data.pixels import Decoding, load_pixels
from circlet.environment import machine
from circlet.training.image_batches import BatchConfig, TrainBatches

RESULTS = Path(__file__).parent / "results"
CASES = {"256 x 256": (256, 256), "1600 x 1200": (1600, 1200)}
SIZE = (224, 224)
BATCH = BatchConfig(classes=16, samples=5)


def write_jpegs(root: Path, size: tuple[int, int], num_images: int) -> ImageSet:
    """Write images in classes of ten: noise whose amplitude falls with the frequency, as in photographs."""
    rng = np.random.default_rng(0)
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    noise = rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))
    waves = np.fft.irfft2(noise / np.maximum(frequency, 1 / max(size)), s=(height, width))
    field = (128 + 45 * waves / waves.std()).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    for index in range(num_images):
        pixels = np.roll(field, (rng.integers(height), rng.integers(width)), (0, 1))
        path = root / f"{index // 10:04d}" / f"{index % 10}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)
    try:
        return image_folder(root, held_out=1).train
    except DataError as error:
        raise SystemExit(f"--images: found {num_images}, expected at least 20 ({error})") from error


def bare(paths: list[str]) -> None:
    """Pillow alone."""
    for path in paths:
        with Image.open(path) as image:
            np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))


def ours(images: ImageSet) -> None:
    """`decode`, in this process."""
    for index in range(len(images)):
        decode(images, index, size=SIZE)


def cpu_seconds() -> float:
    """CPU time of this process and its workers so far; that of a worker in steps of 10 ms."""
    total = time.process_time()
    for worker in multiprocessing.active_children():
        user, system = Path(f"/proc/{worker.pid}/stat").read_text().rsplit(")")[1].split()[11:13]
        total += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return total


def timed(run: Callable[[], object], num_images: int) -> tuple[float, float]:
    """Images a second, and images a second of CPU time."""
    cpu, start = cpu_seconds(), time.perf_counter()
    run()
    return num_images / (time.perf_counter() - start), num_images / (cpu_seconds() - cpu)


def measure(size: tuple[int, int], num_images: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Images a second, and a second of CPU time, of each: the best of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        images = write_jpegs(Path(folder), size, num_images)
        paths = [os.path.join(folder, name) for name in images.names]
        config = Decoding(SIZE, workers=1)
        batches = TrainBatches(load_pixels(images, config), BATCH, seed=0)
        num_in_epoch = sum(len(labels) for _, labels in batches.epoch(0, 0))  # this starts the worker too
        rates = []
        for epoch in range(1, rounds + 1):
            rates.append(
                {
                    "bare": timed(partial(bare, paths), len(paths)),
                    "decode": timed(partial(ours, images), len(paths)),
                    "pipeline": timed(partial(deque, batches.epoch(epoch, 0), maxlen=0), num_in_epoch),
                }
            )
        del batches
    return {name: tuple(np.max([rate[name] for rate in rates], axis=0).tolist()) for name in rates[0]}


def table(results: dict[str, Any]) -> str:
    """Markdown: one row for each size of image."""
    lines = [
        "# Training images a second, one worker",
        "",
        ", ".join(f"{key} {value}" for key, value in results["machine"].items()) + ".",
        "",
        f"JPEGs to {SIZE[0]} x {SIZE[1]} RGB. Bare: Pillow's open, convert, resize on one core. `decode`: ours, on one "
        "core. Pipeline: batches of 16 x 5 uint8 images from one worker, without augmentation; ratio to bare, in the "
        "same run. Ours decodes a JPEG at a half, a quarter or an eighth of its size (Pillow's draft mode) where that "
        "leaves twice the size asked for, as of the large ones here.",
        "",
        "| JPEG | | bare | `decode` | pipeline | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, rates in results["cases"].items():
        for column, what in enumerate(("a second", "a second of CPU time")):
            values = [rates[key][column] for key in ("bare", "decode", "pipeline")]
            cells = " | ".join(f"{value:.0f}" for value in values)
            lines.append(f"| {name} | {what} | {cells} | {values[2] / values[0]:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure both sizes and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400, help="how many JPEGs; a quarter of them of the large")
    parser.add_argument("--rounds", type=int, default=20, help="best of so many")
    told = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"machine": machine("torch", "pillow"), "cases": {}}
    for name, size in CASES.items():
        results["cases"][name] = measure(size, told.images if max(size) < 1000 else told.images // 4, told.rounds)
        print(name, results["cases"][name], flush=True)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "loader.json"
    file.write_text(json.dumps(results, indent=2) + "\n")
    file.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
