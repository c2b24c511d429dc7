"""Many linear heads on the features of one frozen network: what their trainings share is made once.

Comparing losses takes a hundred heads, each of which is trained in seconds; so the network is built once, its features
of the images are read once, and so is the closed form that all heads start from. What a run leaves behind, and which
stages of a run are kept, is not here (`circlet.compare`, `staged`).
"""

from dataclasses import replace

import torch

from circlet.data import Splits
from circlet.data.query_gallery import TestSet
from circlet.experiments.build import build_model, fitting_of
from circlet.experiments.experiment import Experiment
from circlet.experiments.loading import RunData, load_lazily
from circlet.experiments.outcome import embedded_by, frozen_of
from circlet.models import Embedded
from circlet.transfer import Frozen, Judgement, LinearMap, WithinClasses, judge_stages, projected, unchanged
from circlet.transfer.head import Observe, TrainedHead


def frozen_network(experiment: Experiment, device: torch.device) -> Frozen:
    """The experiment's pretrained network as it is before any training; of settings that are `resolved`."""
    return frozen_of(build_model(experiment.model, experiment.data.channels), experiment, device)


def compute_features(experiment: Experiment, splits: Splits, device: torch.device) -> None:
    """Leave the features of all images in the cache, so that several processes need not each compute them."""
    frozen, data = frozen_network(experiment, device), load_lazily(experiment.data, splits)
    assert data.test is not None
    frozen.looks(data.train, experiment.transfer.looks)
    embedded_by(frozen.embeddings, data.test)


class HeadRuns:
    """Images to train heads on and to test them on, seen by a frozen network.

    Reading the features of images that nobody has seen yet takes the time of the network's forward pass; after that
    they are in the cache (`circlet.features`), and those to train on stay in memory here.
    """

    def __init__(self, frozen: Frozen, data: RunData, looks: int = 1) -> None:
        assert data.test is not None
        self.frozen, self.data = frozen, data
        self.test_set: TestSet = data.test
        self.looks = frozen.looks(data.train, looks)
        self.labels = torch.from_numpy(data.train.images.labels)
        self._starts: dict[float | None, LinearMap] = {}

    def choose_start(self, experiment: Experiment) -> Judgement:
        """Which closed form heads begin at: judged by folds of the training classes, whatever the loss."""
        config = replace(experiment.transfer, stages=("closed_form",))
        return judge_stages(self.data.train.images, self.looks, fitting_of(replace(experiment, transfer=config)))

    def start(self, shrinkage: float | None) -> LinearMap:
        """The closed form of all training images; None: the features as they are."""
        if shrinkage not in self._starts:
            found = unchanged(self.looks.shape[2])
            if shrinkage is not None:
                found = WithinClasses(self.looks[0], self.labels).whitening(shrinkage)
            self._starts[shrinkage] = found
        return self._starts[shrinkage]

    def train(self, experiment: Experiment, shrinkage: float | None, observe: Observe | None = None) -> TrainedHead:
        """The head with the experiment's loss and seed, from that start. FloatingPointError where it diverges."""
        found = fitting_of(experiment).head(self.looks, self.labels, self.start(shrinkage), observe)
        return found._replace(head=self.shortened(found.head, experiment))

    def shortened(self, head: LinearMap, experiment: Experiment) -> LinearMap:
        """The map with as many numbers at its end as the experiment's embeddings have."""
        dim = experiment.model.embedding_dim
        return head if dim is None or dim == len(head.bias) else projected(head, self.looks[0], dim)

    def embedded(self, head: LinearMap | None = None) -> Embedded:
        """Embeddings of the test images; None: what the network alone gives."""
        return embedded_by(lambda pixels: self.frozen.embeddings(pixels, head), self.test_set)

    def raw_pixels(self) -> Embedded:
        """The test images as their pixels."""
        return embedded_by(self.frozen.raw_pixels, self.test_set)

    def counts(self) -> dict[str, int]:
        """How many images of how many classes, by the names of result.json."""
        return self.data.counts()
