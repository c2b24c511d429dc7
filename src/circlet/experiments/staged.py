"""A run that starts from a pretrained network: stages on frozen features, then the network itself if there is time.

What every stage gives is judged on training classes held out, and only what is better stays; the frozen network is what
it all is compared with, on the test classes too.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from circlet.analyse import Telemetry, Trace
from circlet.curate.short_form import short_form
from circlet.data import Splits
from circlet.data.pixels import Pixels
from circlet.distributed import led, led_to, num_ranks, on_all_ranks, on_rank_0
from circlet.experiments.build import build_model, fitting_of
from circlet.experiments.experiment import Experiment
from circlet.experiments.held_out import chosen_thresholds, held_out_in_parts
from circlet.experiments.loading import RunData, list_broken, load_lazily
from circlet.experiments.network_stage import NetworkImages, network_images, train_network
from circlet.experiments.outcome import Outcome, frozen_metrics, frozen_of, start_name, test
from circlet.experiments.planning import planned
from circlet.experiments.ranks import require_same_training
from circlet.experiments.remembered import begin
from circlet.experiments.resuming import Change
from circlet.models import Embedder, add_low_rank
from circlet.terminal import say
from circlet.training import RunFolder
from circlet.training.image_batches import faster_decoding
from circlet.training.waiting import notes as waiting_notes
from circlet.training.waiting import waited
from circlet.transfer import (
    Frozen,
    Judgement,
    LinearMap,
    Plan,
    Stage,
    Unseen,
    fit_kept,
    head_of,
    judge_images,
    judge_stages,
    set_head,
)
from circlet.transfer.judging import LIKELY, SURE


class StagesFound(NamedTuple):
    """What the stages gave, for stages.json and for people."""

    frozen: dict[str, float] | None
    stages: list[Stage]
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        stages = [stage.to_json() for stage in self.stages]
        return {"frozen": self.frozen, "stages": stages, "sentence": self.sentence}


class Start(NamedTuple):
    """What stages begin with, in words: its name, and is or are."""

    name: str
    be: str


class Staged:
    """One run: its images, its network, and what of them is needed again and again.

    unseen: training images with heads that have not seen their classes, as what is kept makes them.
    """

    def __init__(self, experiment: Experiment, data: RunData, device: torch.device) -> None:
        self.experiment, self.data, self.device = experiment, data, device
        torch.manual_seed(experiment.loop.seed)
        self.model: Embedder = build_model(experiment.model, experiment.data.channels)
        if experiment.transfer.low_rank:  # on a copy: a network without a layer for them is an error at once
            add_low_rank(copy.deepcopy(self.model.backbone), experiment.transfer.low_rank)
        dim, most = experiment.model.embedding_dim, len(head_of(self.model).weight.T)
        if dim is not None and dim > most:
            raise ValueError(f"model.embedding_dim: found {dim}, expected at most {most}, the number of features of "
                             f"{experiment.model.backbone}")  # fmt: skip
        self.fitting = fitting_of(experiment)
        self.frozen = frozen_of(self.model, experiment, device)
        self.unseen: tuple[Unseen, ...] = ()

    def looks(self) -> Tensor:
        """Features (looks, n, features) of the training images."""
        return self.frozen.looks(self.data.train, self.experiment.transfer.looks)


def train_in_stages(
    experiment: Experiment,
    splits: Splits,
    folder: RunFolder,
    device: torch.device,
    *,
    began: float | None = None,
    changes: Mapping[str, Change] | None = None,
) -> Outcome | None:
    """Train as `experiment.transfer` says, then test; arguments as those of `circlet.experiments.train`.

    began: when the time that `minutes` counts began, by time.monotonic(); None: now.
    """
    began = time.monotonic() if began is None else began
    asked = experiment
    experiment = replace(experiment, data=replace(experiment.data, in_memory=False))
    data = on_all_ranks(lambda: load_lazily(experiment.data, splits))
    require_same_training(experiment, data.train.images)
    on_rank_0(lambda: list_broken(data, folder.path / "skipped.txt"))
    run = on_all_ranks(lambda: Staged(experiment, data, device))
    network = network_images(experiment, data.train.images)
    ranks = num_ranks(None)
    plan = on_rank_0(lambda: planned(experiment, data, run.frozen, network, began, ranks))
    if plan.network is None and experiment.transfer.minutes is not None and on_rank_0(folder.last.exists):
        plan = plan._replace(network=0.0)  # no time is left, but what was trained of it before is judged
    on_rank_0(lambda: begin(folder, asked, data, changes))
    judgement = led(lambda: _judged(run))
    stages = list(judgement.stages)
    led(lambda: _look_at_images(run.frozen, data, folder, experiment.data.of_vectors))
    before = led(lambda: frozen_metrics(run.model, data.test, experiment, device) if data.test else {})
    set_head(run.model, led(lambda: _fit(run, judgement, folder)))
    if plan.network is not None and network is not None:
        stages.append(_network(run, judgement, network, plan, folder, began))
        _say(stages[-1])
    return led_to(lambda: _tested(run, judgement, stages, before, folder))


def _tested(
    run: Staged, judgement: Judgement, stages: list[Stage], before: dict[str, float], folder: RunFolder
) -> Outcome:
    """What is kept, saved and tested: into model.pt, stages.json and result.json."""
    experiment, data = run.experiment, run.data
    assert data.test is not None
    start = Start(start_name(of_vectors=experiment.data.of_vectors), "are" if experiment.data.of_vectors else "is")
    found = StagesFound(judgement.frozen, stages, _sentence(judgement, stages, data.train, start))
    folder.write_json("stages.json", found.to_json())
    folder.save(folder.model, {"model": {name: value.cpu() for name, value in run.model.state_dict().items()}})
    chosen = chosen_thresholds(held_out_in_parts(run.frozen, data.train, run.unseen), data.test, folder)
    outcome = test(run.model, data.test, experiment, run.device, frozen=before, thresholds=chosen.thresholds)
    folder.write_json(
        "result.json",
        {
            "checkpoint": folder.model.name,
            **outcome.to_json(),
            **data.counts(),
            "train_seconds": round(sum(stage.seconds for stage in stages), 3),
            **(waiting := waited(folder.read_metrics())),
        },
    )
    slow = waiting_notes(waiting, faster_decoding(data.train, may_keep=False))
    notes = (found.sentence, *_on_test_classes(outcome, start), chosen.told(outcome.promise), *slow)
    return outcome._replace(notes=notes)


def _look_at_images(frozen: Frozen, data: RunData, folder: RunFolder, of_vectors: bool) -> None:
    """The short form of the audit: what matters on standard error, all of it in the folder."""
    assert data.test is not None
    parts = [pixels for pixels in (data.train, data.test.query, data.test.gallery) if pixels is not None]
    features = [frozen.features(pixels) for pixels in parts]
    found = short_form([pixels.images for pixels in parts], features, of_vectors=of_vectors)
    for sentence in found.warnings:
        say(f"warning: {sentence}")
    folder.write_json("audit.json", found.content)


def _on_test_classes(outcome: Outcome, start: Start) -> list[str]:
    """What nobody should miss: where the result is not better than the start on the test classes after all."""
    if outcome.frozen is None:
        return []
    lower = [
        f"{name} {value:.4f} instead of {outcome.frozen[name]:.4f}"
        for name, value in outcome.metrics.items()
        if name in ("map@r", "recall@1", "mAP", "rank-1") and value < outcome.frozen[name]
    ]
    return [f"On the test classes it is lower than the {start.name}: {', '.join(lower)}."] if lower else []


def _judged(run: Staged) -> Judgement:
    train = run.data.train
    judgement = judge_stages(train.images, run.looks(), run.fitting)
    run.unseen = judgement.unseen
    for stage in judgement.stages:
        _say(stage)
    return judgement


def _fit(run: Staged, judgement: Judgement, folder: RunFolder) -> LinearMap:
    """What is kept, fitted to all training classes; its log is left unless that of the network is there already."""
    train, resumed = run.data.train, folder.last.exists()
    if not resumed:
        folder.write_metrics([])
    observe = None if resumed else Telemetry(Trace(folder.path))
    found = fit_kept(judgement, train.images, run.looks(), run.fitting, observe=observe)
    if not resumed:
        folder.write_metrics(found.log)
    return found.head


def _network(
    run: Staged, judgement: Judgement, network: NetworkImages, plan: Plan, folder: RunFolder, began: float
) -> Stage:
    """Train the network from where the head is; where it is kept, the head is fitted to its new features."""
    experiment, train = run.experiment, run.data.train

    def fitted() -> LinearMap:  # to what the network is trained on alone
        return fit_kept(judgement, network.train, run.looks()[:, network.rows], run.fitting).head

    seconds = None
    if experiment.transfer.minutes is not None:
        limit = 60 * experiment.transfer.minutes
        seconds = on_rank_0(lambda: max(limit - (time.monotonic() - began) - plan.after, 1.0))  # one clock for all
    whole = {name: value.clone() for name, value in run.model.state_dict().items()}
    stage = train_network(
        experiment,
        network,
        run.model,
        led(fitted),
        folder,
        run.device,
        seconds=seconds,
        steps=max(plan.steps, 1),
        confidence=SURE if judgement.verdict is None else LIKELY,
    )
    if not stage.kept:
        run.model.load_state_dict(whole)
        return stage
    run.frozen = frozen_of(run.model, experiment, run.device)

    def with_head() -> tuple[Stage, LinearMap]:
        """Whether the head is better as it was trained, or fitted again to what the network has become."""
        rows = run.frozen.features(train)[network.validation_rows]
        heads = head_of(run.model), fitted()
        as_trained, again = (judge_images(head(rows), network.validation) for head in heads)
        better = float(again.map_at_r.mean()) < float(as_trained.map_at_r.mean())
        run.unseen = (Unseen(network.validation_rows, heads[0 if better else 1]),)
        if better:
            return stage, heads[0]
        whole_head = fit_kept(judgement, train.images, run.looks(), run.fitting).head
        settings = {**stage.settings, "head": "fitted again"}
        return stage._replace(validation=again.summary(), settings=settings), whole_head

    stage, head = led(with_head)
    set_head(run.model, head)
    return stage


def _say(stage: Stage) -> None:
    found, difference = stage.validation, stage.verdict.map_at_r
    print(f"{stage.name}: MAP@R {found['map@r']:.3f}, Recall@1 {found['recall@1']:.3f} on validation classes "
          f"({difference.mean:+.3f}, {difference.low:+.3f} to {difference.high:+.3f}): "
          f"{'kept' if stage.kept else 'not better, left out'}", flush=True)  # fmt: skip


def _sentence(judgement: Judgement, stages: list[Stage], train: Pixels, start: Start) -> str:
    """What came of it all, in plain words."""
    kept = [stage.name for stage in stages if stage.kept]
    if judgement.frozen is None:
        return (f"{train.images.num_classes} training classes are too few to hold some out and judge by them (expected "
                f"at least 8, with several in each): the {start.name} {start.be} the result, untrained.")  # fmt: skip
    if not kept:
        return (f"Training did not help: on validation classes nothing was better than the {start.name} by its "
                f"interval, so the {start.name} {start.be} the result.")  # fmt: skip
    sentence = f"Better than the {start.name} on validation classes: {', '.join(kept)}."
    if judgement.verdict is not None:
        mean, low, high = judgement.verdict.map_at_r
        sentence += f" MAP@R {mean:+.3f} ({low:+.3f} to {high:+.3f}, 95 %) by {' and '.join(judgement.kept)}."
    if stages[-1].name == "network" and stages[-1].kept:
        sentence += f" Training the network added {stages[-1].verdict.map_at_r.mean:+.3f} on those that judged it."
    return sentence
