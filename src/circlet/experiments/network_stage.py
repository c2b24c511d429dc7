"""The last stage: the network itself is trained, gently, and kept only if validation classes say that it is better.

Batch norms keep their statistics, the weights before and after are mixed (WiSE-FT: Wortsman et al., CVPR 2022), and the
head starts where the stages on frozen features ended (LP-FT: Kumar et al., ICLR 2022).
"""

import time
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from circlet.analyse import Telemetry, Trace
from circlet.data import ImageSet, hold_out_classes
from circlet.data.images import JoinedClassesError
from circlet.data.pixels import Pixels, load_pixels
from circlet.distributed import is_rank_0, led, on_rank_0
from circlet.experiments.build import build_augment, build_objective, build_trackers
from circlet.experiments.experiment import Experiment
from circlet.models import Embedder, add_low_rank, embed_pixels, evaluating, merge_low_rank, mix_states
from circlet.training import LoopConfig, RunFolder, fit
from circlet.training.image_batches import TrainBatches, faster_decoding
from circlet.training.precision import autocast_dtype
from circlet.transfer import LinearMap, Stage, set_head
from circlet.transfer.frozen_stages import LEAST_CLASSES, has_pairs, numbered, numbers
from circlet.transfer.judging import Judged, Verdict, compare, judge_images

MEMORY_BYTES = 2**30  # of decoded images that are kept; more are decoded again in each epoch


class NetworkImages(NamedTuple):
    """Images to train the network on, and those of held-out training classes to judge it on.

    rows, validation_rows: where they are among all training images.
    """

    train: ImageSet
    validation: ImageSet
    rows: list[int]
    validation_rows: list[int]


def network_images(experiment: Experiment, images: ImageSet) -> NetworkImages | None:
    """`data.validation_share` of the training classes held out; None where too few are left on either side."""
    if images.num_classes < 2 * LEAST_CLASSES:
        return None
    share = max(experiment.data.validation_share or 0.2, LEAST_CLASSES / images.num_classes)
    try:
        parts = hold_out_classes(numbered(images), share, experiment.data.seed)
    except JoinedClassesError:
        return None
    if not all(map(has_pairs, parts)):
        return None
    rows, others = map(numbers, parts)
    return NetworkImages(images.subset(rows), images.subset(others), rows, others)


def training_size(experiment: Experiment) -> tuple[int, int]:
    """(height, width) that the network sees in training: smaller than in testing, where it can take that.

    Random crops show things larger than they are in testing, by about a third (Touvron et al., "Fixing the train-test
    resolution discrepancy", NeurIPS 2019), and a step costs half as much.
    """
    size = experiment.model.size
    assert size is not None
    if experiment.transfer.size is not None:
        return experiment.transfer.size
    if not experiment.model.backbone.startswith(("efficientnet_lite", "resnet")):
        return size
    height, width = (max(32, round(5 / 7 * side / 32) * 32) for side in size)
    return height, width


def train_network(
    experiment: Experiment,
    images: NetworkImages,
    model: Embedder,
    head: LinearMap,
    folder: RunFolder,
    device: torch.device,
    *,
    seconds: float | None,
    steps: int,
    confidence: float,
) -> Stage:
    """Train `model`, whose head becomes `head`, in place; where that is no better, it is as it was before.

    head: fitted to `images.train` alone. seconds, steps: how long; None: all steps. confidence:
    with which it has to be better than before.
    """
    began = time.monotonic()
    train, validation = _loaded(experiment, images)
    set_head(model, head)
    before_state = {name: value.clone() for name, value in model.state_dict().items()}
    judged = partial(_judged, validation, experiment, device)
    before = led(lambda: judged(model))
    torch.manual_seed(experiment.loop.seed)
    adapters = add_low_rank(model.backbone, experiment.transfer.low_rank) if experiment.transfer.low_rank else 0
    batches = TrainBatches(train, experiment.batch, seed=experiment.loop.seed)
    batches.faster = faster_decoding(train, may_keep=False)
    objective = build_objective(experiment.loss, batches.num_classes, model.embedding_dim, device)
    loop = replace(experiment.loop, seconds=seconds, validate_every=max(steps // 4, 1))
    if seconds is not None:
        # The time ends it, and the learning rate follows the time; what a step is computed in is measured.
        precision = on_rank_0(lambda: faster_precision(model, training_size(experiment), loop, device))
        loop = replace(loop, steps=100 * steps, precision=precision)
    fit(
        model,
        objective,
        batches,
        loop,
        folder,
        device=device,
        augment=build_augment(experiment, training_size(experiment)),
        validate=lambda model: judged(model).summary(),
        observe=Telemetry(Trace(folder.path) if is_rank_0() else None),
        trackers=build_trackers(experiment, folder.path) if is_rank_0() else (),
    )
    if adapters:
        merge_low_rank(model.backbone)
    after_state = {name: value.clone() for name, value in model.state_dict().items()}

    def choose() -> tuple[float, Judged, Verdict]:
        tried = {}
        for share in experiment.transfer.mixes:
            model.load_state_dict(mix_states(before_state, after_state, share))
            tried[share] = judged(model)
        verdicts = {share: compare(found, before, confidence) for share, found in tried.items()}
        # Of those that are better in all respects the best: a smaller share may keep Recall@1 where a larger does not.
        best = max(tried, key=lambda share: (verdicts[share].better, float(tried[share].map_at_r.mean())))
        return best, tried[best], verdicts[best]

    share, found, verdict = led(choose)
    state = mix_states(before_state, after_state, share) if verdict.better else before_state
    model.load_state_dict(state)
    settings: dict[str, Any] = {"mix": share, "size": list(training_size(experiment))}
    if adapters:
        settings["low_rank"] = experiment.transfer.low_rank
    return Stage("network", settings, found.summary(), verdict, verdict.better, time.monotonic() - began)


def faster_precision(
    model: Embedder, size: tuple[int, int], loop: LoopConfig, device: torch.device
) -> Literal["auto", "fp32", "bf16", "fp16"]:
    """The precision of the settings; where they leave it open, fp32 on a processor if a step takes less time in it.

    Many processors multiply bf16 faster, but not in the small filters of networks such as EfficientNet.
    """
    dtype = autocast_dtype(loop.precision, device)
    if loop.precision != "auto" or device.type != "cpu" or dtype == torch.float32:
        return loop.precision
    images = torch.rand(8, model.channels, *size).contiguous(memory_format=torch.channels_last)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def seconds(enabled: bool) -> float:
        times = []
        for _ in range(3):
            began = time.process_time()
            with torch.autocast(device.type, dtype, enabled=enabled):
                rows = model(images)
            torch.autograd.grad(rows.float().sum(), trained, allow_unused=True)
            times.append(time.process_time() - began)
        return min(times)

    with evaluating(model):
        return "fp32" if seconds(False) < seconds(True) else "auto"


def _loaded(experiment: Experiment, images: NetworkImages) -> tuple[Pixels, Pixels]:
    """Their pixels; those to train on in memory if they fit."""
    decoding = replace(experiment.data.decoding, in_memory=False, on_error="raise")
    height, width = decoding.size
    fits = len(images.train) * decoding.channels * height * width <= MEMORY_BYTES
    return load_pixels(images.train, replace(decoding, in_memory=fits)), load_pixels(images.validation, decoding)


def _judged(pixels: Pixels, experiment: Experiment, device: torch.device, model: nn.Module) -> Judged:
    return judge_images(embed_pixels(model, pixels, experiment.view, device), pixels.images)
