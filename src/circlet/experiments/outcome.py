"""What a run found on its test classes, beside what the pixels and the network give without any training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from circlet.data.pixels import Pixels
from circlet.data.query_gallery import TestSet
from circlet.evaluate import Thresholds
from circlet.experiments.experiment import Experiment
from circlet.experiments.face_sets import face_metrics, open_face_sets
from circlet.experiments.metrics import FNIR, Bounds, measured, metrics_of
from circlet.experiments.promises import OpenSetFound, open_set_found, promise_sentence
from circlet.models import Embedded, Embedder, RawPixels, embed_pixels
from circlet.models.vector_network import VECTORS
from circlet.transfer import Frozen, GivenVectors, head_of


class Outcome(NamedTuple):
    """What a run found on its test classes; metrics by the names of `circlet.evaluate.tasks`.

    frozen: of the pretrained network before any training; None where it began from random weights. notes: sentences
    that nobody should miss. intervals: 95 % intervals over the test classes of metrics that are means over queries.
    thresholds: chosen on validation classes; None where there are none. open_set: how they hold on the test classes,
    and how well unknown classes are told there. of_vectors: frozen are the vectors as they were given, and so are the
    raw pixels, which then nobody is shown.
    """

    metrics: dict[str, float]
    raw_pixels: dict[str, float]
    test_set: TestSet
    embedded: Embedded
    frozen: dict[str, float] | None = None
    notes: tuple[str, ...] = ()
    intervals: dict[str, Bounds] = {}  # noqa: RUF012 (never changed)
    thresholds: Thresholds | None = None
    open_set: OpenSetFound | None = None
    of_vectors: bool = False

    def to_json(self) -> dict[str, Any]:
        """By the names of result.json."""
        frozen = {} if self.frozen is None else {"frozen": self.frozen}
        found: dict[str, Any] = {"test": self.metrics, **frozen, "raw_pixels": self.raw_pixels}
        if self.of_vectors:
            found["input"] = VECTORS
        found["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        if self.thresholds is not None:
            found["thresholds"] = self.thresholds.to_json()
        return found | ({} if self.open_set is None else {"open_set": self.open_set.to_json()})

    @property
    def promise(self) -> str | None:
        """What the threshold for one false identification in a hundred does on the test classes, in words."""
        main = None if self.open_set is None else self.open_set.main
        return None if main is None else promise_sentence(main)


def start_name(*, of_vectors: bool) -> str:
    """What there is before any training, as tables and sentences call it."""
    return "given vectors" if of_vectors else "frozen network"


def rows_of(content: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The rows of a table, least first, from what `Outcome.to_json` gives or result.json holds."""
    of_vectors = content.get("input") == VECTORS
    raw = {} if of_vectors else {"raw_pixels": "raw pixels"}
    names = {**raw, "frozen": start_name(of_vectors=of_vectors), "test": "embedding"}
    return {title: content[name] for name, title in names.items() if name in content}


def test(
    model: Embedder,
    test_set: TestSet,
    experiment: Experiment,
    device: torch.device,
    *,
    frozen: dict[str, float] | None,
    thresholds: Thresholds | None,
) -> Outcome:
    """Metrics of a model on unseen classes by the experiment's task, beside those of the raw pixels.

    frozen: those of the pretrained network before any training; None: there was none. thresholds: of the model, chosen
    on other classes.
    """
    embedded = embed_test_set(model, test_set, experiment, device)
    found = measured(embedded, test_set, experiment)
    metrics, intervals = found.metrics, found.intervals()
    open_set = open_set_found(found.open_set, embedded, test_set, experiment, thresholds)
    if open_set is not None and FNIR in open_set.intervals:
        intervals[FNIR] = open_set.intervals[FNIR]
    if experiment.task == "face":
        metrics |= face_metrics(model, open_face_sets(experiment.faces), experiment, device)
    if experiment.transfer.stages or experiment.data.of_vectors:
        raw = embedded_by(frozen_of(model, experiment, device).raw_pixels, test_set)
    else:
        raw = embedded_by(lambda p: embed_pixels(RawPixels(model), p, experiment.view.plain(), device), test_set)
    return Outcome(
        metrics,
        metrics_of(raw, test_set, plainly(experiment)),
        test_set,
        embedded,
        frozen,
        intervals=intervals,
        thresholds=thresholds,
        open_set=open_set,
        of_vectors=experiment.data.of_vectors,
    )


def embed_test_set(model: Embedder, test_set: TestSet, experiment: Experiment, device: torch.device) -> Embedded:
    """Embeddings of the query and the gallery images, as the experiment sees them."""
    return embedded_by(lambda pixels: embed(model, pixels, experiment, device), test_set)


def embed(model: Embedder, pixels: Pixels, experiment: Experiment, device: torch.device) -> Tensor:
    """Embeddings (n, dim) in unit length; of a run in stages by way of the features that are kept."""
    if experiment.transfer.stages:
        return frozen_of(model, experiment, device).embeddings(pixels, head_of(model))
    return embed_pixels(model, pixels, experiment.view, device)


def frozen_metrics(
    model: Embedder, test_set: TestSet, experiment: Experiment, device: torch.device
) -> dict[str, float]:
    """What the model's network gives on the test classes without a head; to be called before it is trained."""
    embedded = embedded_by(frozen_of(model, experiment, device).embeddings, test_set)
    return metrics_of(embedded, test_set, plainly(experiment))


def embedded_by(rows: Callable[[Pixels], Tensor], test_set: TestSet) -> Embedded:
    """The query and the gallery images, as a function makes rows of them."""
    gallery = None if test_set.gallery is None else rows(test_set.gallery)
    return Embedded(rows(test_set.query), gallery)


def plainly(experiment: Experiment) -> Experiment:
    """The experiment without what testing adds to the embeddings: expansion and re-ranking."""
    return replace(experiment, test=replace(experiment.test, expand=0, rerank=False))


def frozen_of(model: Embedder, experiment: Experiment, device: torch.device) -> Frozen:
    """The model's network as it is now, looking at images as the experiment does."""
    view = replace(experiment.view, five_crops=False)
    kind = GivenVectors if experiment.data.of_vectors else Frozen
    return kind(model, view, replace(experiment.data.decoding, in_memory=False), device)
