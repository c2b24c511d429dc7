"""Batches: what becomes of the number of classes that was asked for."""

import importlib

import numpy as np
import pytest

from circlet.data import ImageSet
from circlet.data.pixels import Decoding, load_pixels
from circlet.training.image_batches import BatchConfig
from tests.data.miniature import jpeg

module = importlib.import_module("circlet.training.image_batches")


class Faces:
    """Image i, of class i // 2."""

    def __call__(self, index):
        import io

        from PIL import Image

        return Image.open(io.BytesIO(jpeg(index // 2, index % 2)))


@pytest.mark.parametrize(("ranks", "classes"), [(1, 7), (2, 6), (4, 4)])
def test_few_classes_are_shared_out_evenly_among_ranks(ranks, classes, monkeypatch):
    monkeypatch.setattr(module, "num_ranks", lambda group: ranks)
    images = ImageSet.from_classes([f"{i // 2}" for i in range(14)], [f"{i}" for i in range(14)], Faces())
    pixels = load_pixels(images, Decoding((8, 8), in_memory=True))
    batches = module.TrainBatches(pixels, BatchConfig(classes=64, samples=2), seed=0)
    found, labels = next(iter(batches.epoch(0, 0)))
    assert len(np.unique(labels)) == classes // ranks
    assert found.shape == (2 * classes // ranks, 3, 8, 8)


@pytest.mark.parametrize("sampler", ["pk", "shuffle"])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.subprocess)])
def test_batches_are_the_same_from_memory_and_from_workers(sampler, workers):
    """Of several epochs, one after the other: the loader and the labels follow the same order."""
    images = ImageSet.from_classes([f"{i // 2}" for i in range(14)], [f"{i}" for i in range(14)], Faces())
    config = BatchConfig(sampler=sampler, classes=3, samples=2)
    found = []
    for in_memory in (True, False):
        pixels = load_pixels(images, Decoding((8, 8), workers=workers, in_memory=in_memory))
        batches = module.TrainBatches(pixels, config, seed=0)
        found.append([batch for epoch, start in ((0, 1), (1, 0), (2, 0)) for batch in batches.epoch(epoch, start)])
    for (pixels, labels), (decoded, their_labels) in zip(*found, strict=True):
        np.testing.assert_array_equal(pixels, decoded)
        np.testing.assert_array_equal(labels, their_labels)
