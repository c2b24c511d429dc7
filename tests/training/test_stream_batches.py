"""Training batches out of shards: pixels and labels belong together, whatever workers, ranks and place to begin at."""

import importlib

import numpy as np
import pytest

from circlet.data import DataError, hold_out_classes, shards
from circlet.data.pixels import Decoding, load_pixels
from circlet.training.image_batches import BatchConfig, TrainBatches
from circlet.training.stream_batches import StreamBatches, train_batches
from tests.data.shard_files import members_of, mixed, write_members, write_parquet, write_shards, write_tar

module = importlib.import_module("circlet.training.stream_batches")
CONFIG = BatchConfig(classes=4, samples=3, buffer=40, open_shards=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()


def opened(tmp_path, write=write_tar, suffix="tar"):
    return shards(write_shards(tmp_path / "data", mixed(20, 6, 5), write, suffix), held_out=5).train


def epochs(images, config=CONFIG, workers=0, places=((0, 0), (1, 0), (2, 3))):
    pixels = load_pixels(images, Decoding((12, 12), channels=1, workers=workers))
    batches = train_batches(pixels, config, seed=5)
    assert isinstance(batches, StreamBatches)
    return [(found.numpy(), labels.numpy()) for place in places for found, labels in batches.epoch(*place)]


def same(one, other):
    for (pixels, labels), (their_pixels, their_labels) in zip(one, other, strict=True):
        np.testing.assert_array_equal(pixels, their_pixels)
        np.testing.assert_array_equal(labels, their_labels)


@pytest.mark.parametrize("sampler", ["pk", "shuffle"])
def test_pixels_are_of_their_labels(sampler, tmp_path):
    images = opened(tmp_path)
    config = BatchConfig(sampler, classes=4, samples=3, buffer=40, open_shards=2)
    found = epochs(images, config)
    for pixels, labels in found:
        assert pixels.min((1, 2, 3)).tolist() == [8 * int(images.class_names[label]) for label in labels]
        assert sampler == "shuffle" or len(set(labels.tolist())) == 4
    kept, _ = hold_out_classes(images, 3)
    assert {label for _, labels in epochs(kept, config) for label in labels.tolist()} == set(range(12))


@pytest.mark.subprocess
@pytest.mark.parametrize("form", [(write_tar, "tar"), (write_parquet, "parquet")])
def test_workers_change_nothing(form, tmp_path):
    images = opened(tmp_path, *form)
    expected = epochs(images)
    same(epochs(images, workers=2), expected)
    last = epochs(images, workers=2, places=((2, 4),))
    same(last, expected[len(expected) - len(last) :])


@pytest.mark.parametrize("sampler", ["pk", "shuffle"])
def test_ranks_change_nothing(sampler, tmp_path, monkeypatch):
    images = opened(tmp_path)
    config = BatchConfig(sampler, classes=4, samples=3, buffer=40, open_shards=2)
    expected, parts = epochs(images, config), []
    monkeypatch.setattr(module, "num_ranks", lambda group: 2)
    for rank in range(2):
        monkeypatch.setattr(module, "rank_in", lambda group, rank=rank: rank)
        parts.append(epochs(images, config))
    whole = [tuple(map(np.concatenate, zip(*both, strict=True))) for both in zip(*parts, strict=True)]
    same(whole, expected)


def test_in_memory_they_are_an_image_set(tmp_path):
    pixels = load_pixels(opened(tmp_path), Decoding((12, 12), channels=1, in_memory=True))
    assert isinstance(train_batches(pixels, CONFIG, seed=0), TrainBatches)


def test_what_is_no_image(tmp_path):
    path = tmp_path / "data" / "a.tar"
    members = [*members_of(np.arange(40) % 4), ("000099.png", b"no image"), ("000099.cls", b"1")]
    write_members(path, members)
    write_tar(tmp_path / "data" / "b.tar", ["8", "8"])
    images = shards(path, test_shards=tmp_path / "data" / "b.tar").train
    with pytest.raises(DataError, match=r"a\.tar, member 000099\.png: found no readable image"):
        epochs(images)
    skipping = load_pixels(images, Decoding((12, 12), channels=1, on_error="skip"))
    assert [name for name, _ in skipping.broken] == ["a.tar/000099.png"]
    labels = [labels for _, labels in train_batches(skipping, CONFIG, seed=0).epoch(0, 0)]
    assert sum(map(len, labels)) == 40


def test_what_shards_cannot_do(tmp_path):
    pixels = load_pixels(opened(tmp_path), Decoding((12, 12), channels=1))
    with pytest.raises(ValueError, match=r"augment\.dihedral_classes: found with shards, expected off"):
        train_batches(pixels, CONFIG, classes_per_class=8, seed=0)
    with pytest.raises(ValueError, match=r"batch\.by_category: found with shards"):
        train_batches(pixels, BatchConfig(by_category=True), seed=0)
    with pytest.raises(ValueError, match="buffer: found 23 images, expected at least 24, two batches"):
        train_batches(pixels, BatchConfig(classes=4, samples=3, buffer=23), seed=0)
