"""Batches: what becomes of the number of classes that was asked for."""

import importlib

import numpy as np
import pytest

from circlet.data import ImageSet
from circlet.data.pixels import Decoding, load_pixels
from circlet.train.image_batches import BatchConfig
from tests.data.miniature import jpeg

module = importlib.import_module("circlet.train.image_batches")


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
