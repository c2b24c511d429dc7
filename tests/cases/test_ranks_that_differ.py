"""One of several ranks has other settings or other images: an error that says which, before the first step."""

import socket
from contextlib import ExitStack

import pytest
import torch

import circlet
from circlet.augment import AugmentConfig
from circlet.data import ImageSet, Splits, glyphs
from circlet.distributed import require_agreement
from circlet.experiments import changed, require_same_training, train
from circlet.training import RunFolder
from tests import forks
from tests.training import on_ranks, tiny

SETTINGS = {"data__workers": 0, "data__size": (8, 8), "model__size": (8, 8), "steps": 2, "augment": AugmentConfig()}


def experiment(**changes):
    return changed(circlet.recipes.glyphs(), **{**SETTINGS, **changes})


def drawn(rank):
    every = glyphs(num_instances=4)
    return Splits(every.train.subset(range(48)), every.query.subset(range(16)))


def other_settings(rank, folder):
    made = experiment(loss=circlet.CircleLoss(gamma=80.0 if rank else 256.0), steps=2 + rank)
    train(made, drawn(rank), RunFolder(folder / "settings"), torch.device("cpu"))


def fewer_images(rank, folder):
    splits = drawn(rank)
    splits = Splits(splits.train.subset(range(44 if rank else 48)), splits.query)
    train(experiment(), splits, RunFolder(folder / "images"), torch.device("cpu"))


def other_names(rank, folder):
    """As many classes and images, of which the classes of the last differ: those that rank 0 tests on, perhaps."""
    splits = drawn(rank)
    require_same_training(experiment(), splits.train)  # the same: nothing happens
    require_same_training(experiment(root=f"disk{rank}", data__workers=rank), splits.train)  # a machine's own affairs
    images = splits.query.subset(range(8)) if rank else splits.train.subset(range(8))
    require_same_training(experiment(), images)


def broken_on_one(rank, folder):
    """Found when the images are read: those that a rank leaves out."""
    splits = drawn(rank)
    read = Broken(splits.train.read, 3) if rank else splits.train.read
    broken = ImageSet(splits.train.labels, splits.train.class_names, splits.train.names, read)
    made = experiment(data__on_error="skip")
    train(made, Splits(broken, splits.query), RunFolder(folder / "broken"), torch.device("cpu"))


class Broken:
    """A reader one of whose images cannot be read."""

    def __init__(self, read, bad):
        self.read, self.bad = read, bad

    def __call__(self, index):
        if index == self.bad:
            raise OSError("no such image")
        return self.read(index)


def other_loop(rank, folder):
    """`circlet.fit`, which knows no experiment."""
    model, objective = tiny.parts("pair")
    circlet.fit(model, objective, tiny.Batches(), tiny.config(steps=2 + rank), folder / "loop")


def other_loss(rank, folder):
    model, loss = tiny.Net(), circlet.CircleLoss(gamma=80.0 if rank else 256.0)
    circlet.fit(model, loss, tiny.Batches(), tiny.config(steps=2), folder / "loss")


def other_batches(rank, folder):
    model, objective = tiny.parts("pair")
    circlet.fit(model, objective, tiny.Batches(per_class=4 + 4 * rank), tiny.config(steps=2), folder / "batches")


CASES = {
    other_settings: r"ranks: found loss.gamma 256.0 on rank 0 and 80.0 on rank 1; loop.steps 2 on rank 0",
    fewer_images: r"ranks: found training classes 12 on rank 0 and 11 on rank 1; training images 48 on rank 0",
    other_names: r"ranks: found names of the training classes \(digest\).*; names of the training images \(digest\)",
    broken_on_one: r"ranks: found training images 48 on rank 0 and 47 on rank 1",
    other_loop: r"ranks: found config.steps 2 on rank 0 and 3 on rank 1; expected the same on all 2 ranks",
    other_loss: r"ranks: found objective .*256.* on rank 0 and .*80.* on rank 1",
    other_batches: r"ranks: found batches in an epoch 1 on rank 0 and 3 on rank 1",
}


@pytest.mark.subprocess
def test_ranks_that_differ_are_one_error_before_the_first_step(tmp_path):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in CASES]
        ports = [free.getsockname()[1] for free in sockets]
    for name in ("settings", "images", "broken"):
        RunFolder.create(tmp_path / name, {})
    works = [
        (port, case, [(ValueError, message), (SystemExit, "1")])
        for port, (case, message) in zip(ports, CASES.items(), strict=True)
    ]
    forks.on_ranks(2, on_ranks.in_own_process, 2, tmp_path, works)
    assert not list(tmp_path.rglob("*.pt"))
    assert not list(tmp_path.rglob("metrics.jsonl"))
    assert not (tmp_path / "loop").exists()
    assert not (tmp_path / "images" / "data.json").exists()


def test_one_rank_is_not_asked_what_it_has():
    def parts():
        raise AssertionError("asked")

    require_agreement(parts)
