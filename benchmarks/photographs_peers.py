"""Plain training loops with the losses of other libraries, as their own examples have them; used by `photographs.py`.

pytorch-metric-learning (https://kevinmusgrave.github.io/pytorch-metric-learning, examples/): Adam with one learning
rate for the network and ten times that for a new linear embedding layer, weight decay 1e-4, `MPerClassSampler`, its
miner where the loss is used with one, batch norm in training mode, no schedule. `ProxyAnchorLoss` has an optimiser of
its own rate for its proxies, a hundred times that of the network (Kim et al., CVPR 2020). open-metric-learning: the
loop of its README, which is Adam, `BalanceSampler` and `TripletLossWithMiner(0.1, AllTripletsMiner())`.

head: "random": the pooled features through a new linear layer to 256 numbers, as the examples do; "none": the pooled
features are the embedding. "careful" is what somebody would write who has read about fine-tuning: no new layer, batch
norm as it was, AdamW whose rate (3e-4) rises for 5 % of the time and falls linearly to 0, smaller images in training.

Everything else is that of the other methods: the network and its weights, the decoding, the augmentation
(`circlet.augment`), batches of 16 classes x 5 images. The decoded images are kept in memory, the network is in
channels_last. The time counts from before the decoding to the end of the last step; testing comes on top.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from circlet.augment import Augment
from circlet.data import ImageSet
from circlet.data.pixels import load_pixels
from circlet.experiments import Experiment
from circlet.experiments.build import build_model
from circlet.experiments.network_stage import training_size
from circlet.models import Embedder

CLASSES, SAMPLES, DIM = 16, 5, 256
WARMUP, CAREFUL_RATE = 0.05, 3e-4

Compared = Callable[[Tensor, Tensor], Tensor]
"""(embeddings, labels) to the loss."""


class Variant(NamedTuple):
    """A row of the table: which loss, which head, and whether its loop is the careful one."""

    loss: str
    head: str
    careful: bool = False


VARIANTS = {
    "pml-circle": Variant("circle", "random"),
    "pml-circle-none": Variant("circle", "none"),
    "pml-circle-careful": Variant("circle", "none", careful=True),
    "pml-proxy-anchor": Variant("proxy anchor", "random"),
    "pml-proxy-anchor-none": Variant("proxy anchor", "none"),
    "pml-multi-similarity": Variant("multi-similarity", "random"),
    "pml-multi-similarity-none": Variant("multi-similarity", "none"),
    "oml-triplet": Variant("oml", "none"),
}


def train(
    variant: Variant, experiment: Experiment, images: ImageSet, *, minutes: float, seed: int, rates: tuple[float, float]
) -> tuple[Embedder, dict[str, Any]]:
    """A model trained for so long, and what is worth a note: steps, seconds, rates, size, loss of the last step.

    experiment: `resolved`, for its network, decoding and augmentation. rates: of the network, and of a new head.
    """
    began = time.monotonic()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the samplers of both libraries draw from it)
    size = training_size(experiment) if variant.careful else experiment.view.size
    config = replace(experiment.model, head="linear" if variant.head == "random" else "none",
                     embedding_dim=DIM if variant.head == "random" else None)  # fmt: skip
    model = build_model(config, experiment.data.channels)
    model.backbone.to(memory_format=torch.channels_last)
    compared, proxies = _loss(variant.loss, images.num_classes, model.embedding_dim)
    optimizer = _optimizer(variant, model, proxies, rates)
    augment = Augment(experiment.augment, size)

    pixels = load_pixels(images, replace(experiment.data.decoding, in_memory=True))
    assert pixels.memory is not None
    labels = torch.from_numpy(images.labels)
    loader = _loader(variant, TensorDataset(pixels.memory, labels), labels)
    _to_training(model, variant)
    decoded = time.monotonic()
    steps, last = 0, float("nan")
    for batch, classes in _for_ever(loader):
        gone = (time.monotonic() - began) / (60 * minutes)
        mean_step = (time.monotonic() - decoded) / max(steps, 1) / (60 * minutes)
        if steps and gone + mean_step / 2 > 1:
            break
        if variant.careful:
            for group in optimizer.param_groups:
                group["lr"] = CAREFUL_RATE * max(min(gone / WARMUP, (1 - gone) / (1 - WARMUP)), 0.01)
        seen, classes = augment(batch, classes)
        optimizer.zero_grad()
        loss = compared(model(seen.contiguous(memory_format=torch.channels_last)), classes)
        loss.backward()
        optimizer.step()
        steps, last = steps + 1, float(loss)
    seconds = time.monotonic() - began
    rate = (CAREFUL_RATE,) if variant.careful else rates
    return model.eval(), {"steps": steps, "train_seconds": round(seconds, 1), "size": list(size), "rates": list(rate),
                          "last_loss": last}  # fmt: skip


def _for_ever(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _to_training(model: Embedder, variant: Variant) -> None:
    model.train()
    if variant.careful:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _loss(name: str, num_classes: int, dim: int) -> tuple[Compared, list[nn.Parameter]]:
    """The loss by the library's own classes, and the proxies that it trains."""
    if name == "oml":
        declare_torchvision()
        from oml.losses import TripletLossWithMiner
        from oml.miners import AllTripletsMiner

        triplet = TripletLossWithMiner(0.1, AllTripletsMiner())
        # unit length, as its extractors' option `normalise_features`: the test is by cosine
        return lambda x, labels: triplet(nn.functional.normalize(x), labels), []
    from pytorch_metric_learning import losses, miners

    if name == "circle":
        return losses.CircleLoss(m=0.4, gamma=80), []
    if name == "proxy anchor":
        criterion = losses.ProxyAnchorLoss(num_classes, dim, margin=0.1, alpha=32)
        return criterion, list(criterion.parameters())
    assert name == "multi-similarity"
    miner = miners.MultiSimilarityMiner(epsilon=0.1)
    similarity = losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)
    return lambda x, labels: similarity(x, labels, miner(x, labels)), []


def _optimizer(
    variant: Variant, model: Embedder, proxies: list[nn.Parameter], rates: tuple[float, float]
) -> torch.optim.Optimizer:
    if variant.careful:
        return torch.optim.AdamW(model.parameters(), lr=CAREFUL_RATE, weight_decay=1e-2)
    groups: list[dict[str, Any]] = [{"params": list(model.backbone.parameters()), "lr": rates[0]}]
    if head := list(model.head.parameters()):
        groups.append({"params": head, "lr": rates[1]})
    if proxies:
        groups.append({"params": proxies, "lr": 100 * rates[0]})
    return torch.optim.Adam(groups, weight_decay=0.0 if variant.loss == "oml" else 1e-4)


def _loader(variant: Variant, dataset: TensorDataset, labels: Tensor) -> DataLoader[Any]:
    classes = min(CLASSES, len(labels.unique()))
    if variant.loss == "oml":
        declare_torchvision()
        from oml.samplers import BalanceSampler

        sampler = BalanceSampler(labels.tolist(), n_labels=classes, n_instances=SAMPLES)
        return DataLoader(dataset, batch_sampler=sampler)
    from pytorch_metric_learning.samplers import MPerClassSampler

    batch = classes * SAMPLES
    sampler = MPerClassSampler(labels, m=SAMPLES, batch_size=batch, length_before_new_iter=max(len(labels), batch))
    return DataLoader(dataset, batch_size=batch, sampler=sampler)


_DECLARED: list[Any] = []


def declare_torchvision() -> None:
    """Let `import torchvision` pass beside the CPU build of torch, as open-metric-learning needs.

    Its two missing operators are declared, without code; nothing that is used here calls them.
    """
    if _DECLARED or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)
