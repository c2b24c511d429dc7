"""The rates of this machine: the network, the loss, the optimiser, decoding and exact search, a second or so each.

Sizes are cut down to what takes so long, and rates taken to be those of the full ones. What goes between machines, and
to disk, is not measured here.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from circlet.data import decode, every_image
from circlet.data.images import ImageSet
from circlet.environment import machine
from circlet.evaluate import retrieval
from circlet.losses import CircleLoss
from circlet.plan.losses import class_operations, pair_operations
from circlet.plan.network import Network
from circlet.plan.rates import Rate, Rates
from circlet.plan.scale import Scale
from circlet.references import ClassWeights
from circlet.training.clip import clip_grad_norm_
from circlet.training.optimizer import OptimizerConfig, build_optimizer

SECONDS = 1.0  # of each
_IMAGES, _PAIRED, _ROWS, _CLASSES, _VECTORS = 16, 2048, 512, 20_000, 8192
_OPERATIONS = 5e9  # at least, for a network of so few that starting them takes the time
_WEIGHTS = 2**24  # more than a cache holds, and than malloc keeps
_DECODED = 200
_EDGE = 256


def measured(model: nn.Module, network: Network, scale: Scale, device: torch.device, root: Path | None) -> Rates:
    """Rates of this machine for a job; root: images to decode, None: a JPEG of 256 x 256 made here."""
    about = machine("torch")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{about['cpu']}, {about['vectors']}"
    source = f"measured here ({name}, {torch.get_num_threads()} threads, load {about['load']})"
    found = {
        "network": _network(model, network, scale, device),
        "pairs": _pairs(scale, device),
        "classes": _classes(scale, device),
        "update": _update(scale, device),
        "decode": _decoding(scale, root),
        "search": _search(scale),
    }
    return Rates(**{each: Rate(value, source) for each, value in found.items() if value})


def _network(model: nn.Module, network: Network, scale: Scale, device: torch.device) -> float:
    number = max(2, min(max(_IMAGES, round(_OPERATIONS / (3 * network.flops))), scale.at_once))
    model.to(device).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(number, scale.channels, *scale.size, device=device)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=scale.half):
            rows = model(images)
        rows.float().square().mean().backward()

    return 3 * network.flops * number / _seconds(step, device)


def _pairs(scale: Scale, device: torch.device) -> float:
    rows = min(_PAIRED, scale.batch)
    small = Scale(batch=rows, dim=scale.dim, on_gpu=device.type == "cuda")
    embeddings = torch.randn(rows, scale.dim, device=device, requires_grad=True)
    labels = torch.arange(rows, device=device) // 4
    return pair_operations(small) / _seconds(lambda: CircleLoss()(embeddings, labels).backward(), device)


def _classes(scale: Scale, device: torch.device) -> float:
    if scale.level == "pair":
        return 0.0
    rows, number = min(_ROWS, scale.batch), min(max(_CLASSES, _WEIGHTS // scale.dim), scale.own_classes)
    small = Scale(classes=number, batch=rows, dim=scale.dim, on_gpu=device.type == "cuda")
    weights = ClassWeights(number, scale.dim).to(device)
    embeddings = torch.randn(rows, scale.dim, device=device, requires_grad=True)
    labels = torch.arange(rows, device=device) % number

    def step() -> None:
        weights.zero_grad(set_to_none=True)
        CircleLoss()(embeddings, labels, weights).backward()

    return class_operations(small) / _seconds(step, device)


def _update(scale: Scale, device: torch.device) -> float:
    weights = nn.Parameter(torch.randn(_WEIGHTS, device=device))
    weights.grad = torch.randn_like(weights)
    config = OptimizerConfig(name=scale.optimizer, learning_rate=1e-9)
    optimizer = build_optimizer(nn.ParameterList([weights]), nn.Module(), config)

    def step() -> None:
        clip_grad_norm_([weights], 5.0)
        optimizer.step()

    return _WEIGHTS / _seconds(step, device)


def _decoding(scale: Scale, root: Path | None) -> float:
    with tempfile.TemporaryDirectory() as folder:
        images = _one_jpeg(Path(folder)) if root is None else every_image(root)
        chosen = np.linspace(0, len(images) - 1, min(_DECODED, len(images))).astype(int).tolist()
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            decode(images, chosen[done % len(chosen)], size=scale.size, channels=scale.channels)
            done += 1
        return done / (time.perf_counter() - began)


def _one_jpeg(folder: Path) -> ImageSet:
    """Noise as smooth as a photograph."""
    from PIL import Image

    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (_EDGE // 4, _EDGE // 4, 3), dtype=np.uint8))
    small.resize((_EDGE, _EDGE), Image.Resampling.BICUBIC).save(folder / "image.jpg", quality=90)
    return every_image(folder)


def _search(scale: Scale) -> float:
    vectors = torch.randn(_VECTORS, scale.dim)
    labels = torch.arange(_VECTORS) // 4
    return float(_VECTORS) ** 2 * scale.dim / _seconds(lambda: retrieval(vectors, labels, ks=(1,)), vectors.device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median of some calls, after one that is not counted."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < SECONDS:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
