"""Exact quantities: operations, activations and weights of a network; bytes of what is written."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from circlet import CircleLoss
from circlet.data.embedding_table import write_embeddings
from circlet.data.images import FileReader, ImageSet
from circlet.features.parts import records_of, write
from circlet.models import Embedder, backbone
from circlet.plan import Scale, count, storage
from circlet.plan.losses import class_operations, classes, kept_tiles, pairs
from circlet.plan.network import _most
from circlet.plan.part import peak
from circlet.plan.rates import Rate, Rates
from circlet.training import LoopConfig, Objective, OptimizerConfig, fit
from circlet.vectors import Item, open_store
from tests.plan.networks import two_layers

SMALL = Scale(images=500, classes=300, batch=8, dim=16, size=(32, 32), channels=1, half=False, on_gpu=False)


def test_a_network_of_two_layers_by_hand():
    found = count(two_layers(), "two layers", (8, 8), 3, half=False)
    assert found.weights == (3 * 9 * 4 + 4) + (4 * 5 + 5)
    assert found.flops == 2 * 8 * 8 * 4 * 27 + 2 * 4 * 5
    assert (found.features, found.largest) == (4, 108)
    image, maps = 4 * 3 * 64, 4 * 4 * 64
    # Kept: the normalised image and pooled features; where most is held, the maps too, or their gradient.
    assert image + maps <= found.kept.image <= 2 * image + maps + 4 * (4 + 5) * 2
    assert found.recomputed is None


@pytest.mark.parametrize("half", [False, True])
def test_activations_grow_with_the_images_and_weights_do_not(half):
    model = Embedder(backbone("small", image_size=(32, 32)), 16, image_size=(32, 32))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = count(model, "small", (32, 32), 3, half=half)
    trained = list(model.parameters())
    most, gradients = _most(model, trained, torch.rand(7, 3, 32, 32), [], half=half)
    assert most == pytest.approx(7 * found.kept.image + found.kept.fixed, rel=0.01)
    assert gradients == pytest.approx(found.kept.gradients, abs=4 * found.weights)
    assert found.recomputed.image < 0.95 * found.kept.image
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in trained)


@pytest.mark.parametrize(("optimizer", "level"), [("adamw", "joint"), ("sgd", "class"), ("adam", "pair")])
def test_the_size_of_a_checkpoint(optimizer, level, tmp_path):
    scale = replace(SMALL, optimizer=optimizer, level=level, memory=40)
    model = Embedder(backbone("small", channels=1, image_size=(32, 32)), 16, image_size=(32, 32), channels=1,
                     mean=(0.5,), std=(0.5,))  # fmt: skip
    network = count(model, "small", (32, 32), 1, half=False)
    objective = Objective(CircleLoss(), level, 300, 16, memory=40)
    batch = (torch.rand(8, 1, 32, 32), torch.arange(8) // 2)
    config = LoopConfig(steps=1, precision="fp32", optimizer=OptimizerConfig(name=optimizer))
    fit(model, objective, [batch], config, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)

    def bytes_of(value):
        if isinstance(value, torch.Tensor):
            return value.nbytes if value.ndim else 0  # a step or a loss is a single number
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return sum(map(bytes_of, items))

    tensors = bytes_of({name: state[name] for name in ("model", "objective", "optimizer")})
    assert storage.checkpoint_bytes(scale, network) == pytest.approx(tensors, abs=200)
    assert (tmp_path / "run" / "last.pt").stat().st_size == pytest.approx(tensors, rel=0.05)


def test_the_sizes_of_embeddings_features_and_an_index(tmp_path):
    names = [f"class {i // 10:02d}/{i:05d}.jpg" for i in range(500)]
    rows = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    images = ImageSet.from_classes([name[:8] for name in names], names, FileReader("", tuple(names)))
    npy, _ = write_embeddings(tmp_path / "embeddings", images, rows)
    assert npy.stat().st_size == storage.NPY_HEADER + 4 * 500 * 16
    write(tmp_path / "features.npy", [records_of([i.to_bytes(16, "big") for i in range(500)], rows, 0)])
    assert (tmp_path / "features.npy").stat().st_size == pytest.approx(storage.feature_bytes(500, 16), abs=192)
    with open_store(tmp_path / "index", 16, create=True) as store:
        store.put([Item(name, name[:8], "0" * 32) for name in names], rows)
        store.compact(show_progress=False)
    segments = sum(path.stat().st_size for path in (tmp_path / "index").glob("segment-*"))
    assert segments == storage.index_bytes(replace(SMALL, images=500), text=len(names[0]) + 1 + 8 + 1 + 32)


def test_class_weights_by_hand():
    scale = Scale(images=1e6, classes=1001, ranks=4, batch=64, dim=32, level="class")
    rates = Rates(classes=Rate(1e9, "x"), update=Rate(1e6, "x"))
    weights, loss = classes(scale, rates)
    one = 4 * 251 * 32
    assert (weights.held, weights.passes, weights.update) == (3 * one, one, 2 * one)
    assert weights.seconds == 251 * 32 / 1e6
    assert loss.seconds == class_operations(scale) / 1e9 == 4 * 2 * 64 * 251 * 32 / 1e9
    half = classes(replace(scale, sample=0.5), rates)[0]
    assert half.passes == one + 8 * 126 * 32
    sgd = classes(replace(scale, optimizer="sgd"), rates)[0]
    assert sgd.held == 2 * one
    assert classes(replace(scale, level="pair"), rates) == []
    assert pairs(scale, rates).memory == 0


def test_tiles_are_kept_on_a_cpu_alone():
    scale = Scale(images=1e6, classes=1e5, batch=256, dim=512)
    assert kept_tiles(scale) == 0
    own = replace(scale, on_gpu=False)
    assert kept_tiles(own) == 4 * 256 * 1e5
    assert kept_tiles(replace(own, batch=2048)) == 4 * 1e5 * 512  # where the gradient will be
    assert 2.9 * 2 * 256 * 1e5 * 512 < class_operations(own) < class_operations(scale)


def test_a_peak_is_that_of_one_moment():
    assert peak([]) == 0
