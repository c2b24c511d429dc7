"""The last stage: the network itself is trained, gently, and kept only if validation classes say that it is better.

Batch norms keep their statistics, the weights before and after are mixed (WiSE-FT: Wortsman et al., CVPR 2022), and the
head starts where the stages on frozen features ended (LP-FT: Kumar et al., ICLR 2022).
"""

import time
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from circlet.analyse import Telemetry, Trace
from circlet.augment import Augment
from circlet.data import hold_out_classes
from circlet.data.pixels import Pixels, load_pixels
from circlet.distributed import is_rank_0, on_rank_0
from circlet.experiments.build import build_objective, build_trackers
from circlet.experiments.experiment import Experiment
from circlet.models import Embedder, add_low_rank, embed_pixels, merge_low_rank, mix_states
from circlet.training import RunFolder, fit
from circlet.training.image_batches import TrainBatches
from circlet.transfer import LinearMap, Stage, set_head
from circlet.transfer.judging import LIKELY, Judged, Verdict, compare, judge

MEMORY_BYTES = 2**30  # of decoded images that are kept; more are decoded again in each epoch


class NetworkData(NamedTuple):
    """Images to train the network on, and those of held-out training classes to judge it on."""

    train: Pixels
    validation: Pixels


def network_data(experiment: Experiment, train: Pixels) -> NetworkData | None:
    """`data.validation_share` of the training classes held out; None where too few are left on either side."""
    if train.images.num_classes < 8:
        return None
    share = experiment.data.validation_share or 0.2
    fitted, held_out = hold_out_classes(train.images, max(share, 4 / train.images.num_classes), experiment.data.seed)
    decoding = experiment.data.decoding
    height, width = decoding.size
    fits = len(fitted) * decoding.channels * height * width <= MEMORY_BYTES
    load = partial(load_pixels, decoding=replace(decoding, in_memory=fits, on_error="raise"))
    return NetworkData(load(fitted), load_pixels(held_out, replace(decoding, in_memory=False, on_error="raise")))


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
    data: NetworkData,
    model: Embedder,
    head: LinearMap,
    folder: RunFolder,
    device: torch.device,
    *,
    seconds: float | None,
    steps: int,
) -> Stage:
    """Train `model`, whose head becomes `head`, in place; where that is no better, it is as it was before.

    head: fitted to the images of `data.train` alone. seconds, steps: how long; None: all steps.
    """
    began = time.monotonic()
    set_head(model, head)
    before_state = {name: value.clone() for name, value in model.state_dict().items()}
    labels = torch.from_numpy(data.validation.images.labels)
    judged = partial(_judged, data.validation, labels, experiment, device)
    before = on_rank_0(lambda: judged(model))
    torch.manual_seed(experiment.loop.seed)
    adapters = add_low_rank(model.backbone, experiment.transfer.low_rank) if experiment.transfer.low_rank else 0
    batches = TrainBatches(data.train, experiment.batch, seed=experiment.loop.seed)
    objective = build_objective(experiment.loss, batches.num_classes, model.embedding_dim, device)
    loop = replace(experiment.loop, seconds=seconds, validate_every=max(steps // 4, 1))
    if seconds is not None:
        loop = replace(loop, steps=100 * steps)  # the time ends it, and the learning rate follows the time
    fit(
        model,
        objective,
        batches,
        loop,
        folder,
        device=device,
        augment=Augment(experiment.augment, training_size(experiment)),
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
        best = max(tried, key=lambda share: float(tried[share].map_at_r.mean()))
        return best, tried[best], compare(tried[best], before, LIKELY)

    share, found, verdict = on_rank_0(choose)
    state = mix_states(before_state, after_state, share) if verdict.better else before_state
    model.load_state_dict(state)
    settings: dict[str, Any] = {"mix": share, "size": list(training_size(experiment))}
    if adapters:
        settings["low_rank"] = experiment.transfer.low_rank
    return Stage("network", settings, found.summary(), verdict, verdict.better, time.monotonic() - began)


def _judged(pixels: Pixels, labels: Tensor, experiment: Experiment, device: torch.device, model: nn.Module) -> Judged:
    groups = None if pixels.images.groups is None else torch.from_numpy(pixels.images.groups)
    return judge(embed_pixels(model, pixels, experiment.view, device), labels, groups)
