"""What a report is made of: the results of a run, in plain values of the lower layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from circlet.analyse import Hardest
from circlet.data import ImageSet, Splits
from circlet.evaluate.checks import checked_embeddings
from circlet.experiments.promises import OpenSetFound
from circlet.losses import PairLoss
from circlet.models import Embedded


@dataclass(frozen=True, eq=False)
class ReportData:
    """A run's results. Only the first four are needed; a section whose data are missing is left out.

    title: heading of the page.
    metrics: rows of the headline table by name, each {metric: value}.
    query, gallery: the test images; gallery None: every query searches all the other queries.
    embedded: their embeddings, in the same order.
    log: lines of metrics.jsonl. trace: the hardest pairs of single anchors by step. loss: what was trained with.
    sampled: what the log's telemetry does not see, in words. details: what is printed as JSON at the end, by heading.
    stages: what stages.json holds, of a run from a pretrained network.
    intervals: 95 % intervals over the classes of metrics of the last row. open_set: what thresholds give on the test
    classes; chosen_on: in words, what they were chosen on; "" where there are none.
    audit: what audit.json holds: what is suspicious in the images of the run.
    reid: the metrics are those of re-ID, which pass over some images: gallery images of class "-1" are left out here.
    """

    title: str
    metrics: Mapping[str, Mapping[str, float]]
    query: ImageSet
    embedded: Embedded
    gallery: ImageSet | None = None
    log: Sequence[Mapping[str, Any]] = ()
    trace: Sequence[Hardest] = ()
    loss: PairLoss | None = None
    sampled: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Any] | None = None
    reid: bool = False
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    open_set: OpenSetFound | None = None
    chosen_on: str = ""
    audit: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        sets = {"query": (self.query, self.embedded.query), "gallery": (self.gallery, self.embedded.gallery)}
        for name, (images, rows) in sets.items():
            found = None if rows is None else len(rows)
            expected = None if images is None else len(images)
            if found != expected:
                raise ValueError(f"embedded.{name}: found {found} rows, expected {expected}, as many as images")
            if rows is not None:
                checked_embeddings(f"embedded.{name}", rows)
        query, gallery = self.embedded
        if gallery is None and len(query) < 2:
            raise ValueError(f"query: found {len(query)} image, expected at least 2, or a gallery")
        if gallery is not None and gallery.shape[1] != query.shape[1]:
            raise ValueError(f"embedded.gallery: found dimension {gallery.shape[1]}, expected {query.shape[1]}")

    def without_junk(self) -> "ReportData":
        """The same without the gallery images that re-ID passes over."""
        images, rows = self.gallery, self.embedded.gallery
        if not self.reid or images is None or rows is None or not images.is_junk().any():
            return self
        kept = np.flatnonzero(~images.is_junk())
        embedded = Embedded(self.embedded.query, rows[torch.from_numpy(kept)])
        return replace(self, gallery=images.subset(kept), embedded=embedded)

    def searched(self) -> ImageSet:
        """The images that a query searches."""
        return self.query if self.gallery is None else self.gallery

    def labels(self) -> tuple[Tensor, Tensor]:
        """Labels of query (Q,) and of the searched images (G,), equal where the class names are."""
        found = Splits(self.query, self.query, self.gallery, closed_set=True).matching_labels()
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])
