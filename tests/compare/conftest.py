"""A data set and a recipe small enough that a run is mostly the start of its process."""

import io
import json
import os
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from circlet.compare import one_run, runs
from circlet.models.small import SmallResNet
from circlet.recipes import RECIPES
from tests.forks import FORKS


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Twelve classes of five images: an ellipse of its own shape and colour, moved about."""
    root = tmp_path_factory.mktemp("photos")
    for c in range(12):
        (root / f"{c:02}").mkdir()
        for i in range(5):
            image = Image.new("RGB", (24, 24), "white")
            colour = (20 * c, 90, 200 - 15 * c)
            ImageDraw.Draw(image).ellipse((2 + i, 2, 9 + c, 20 - c % 4), fill=colour)
            image.save(root / f"{c:02}" / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def tiny(photos):
    """The recipe scratch on it, for a few steps."""
    whole = RECIPES["scratch"]()
    return replace(
        whole,
        data=replace(whole.data, root=photos, size=(20, 20), validation_share=0.0),
        model=replace(whole.model, size=(16, 16), embedding_dim=16),
        batch=replace(whole.batch, classes=4, samples=3),
        loop=replace(whole.loop, steps=4, log_every=1, checkpoint_every=2, precision="fp32"),
        ks=(1, 2),
    )


@pytest.fixture(scope="session")
def pretrained(photos, tmp_path_factory):
    """The folder recipe on it: a tiny network from a file of weights, heads on its frozen features."""
    weights = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.manual_seed(0)
    torch.save(SmallResNet(3).state_dict(), weights)
    whole = RECIPES["folder"]()
    return replace(
        whole,
        data=replace(whole.data, root=photos, size=(20, 20), interpolation="bicubic"),
        model=replace(whole.model, backbone="small", pretrained=False, weights=weights, size=(16, 16), crop_share=1.0,
                      pooling="average", mean=(0.5,), std=(0.5,)),
        batch=replace(whole.batch, classes=4, samples=3),
        transfer=replace(whole.transfer, shrinkages=(0.3, 1.0), head=replace(whole.transfer.head, steps=3)),
        ks=(1, 2),
    )  # fmt: skip


@pytest.fixture
def forked(monkeypatch):
    """The runs of a comparison start in milliseconds."""
    monkeypatch.setattr(runs, "_start", start_forked)


def start_forked(run, machine):
    run.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(run.path), str(machine.device), str(machine.threads), str(run.validation_share), str(machine.jobs)]
    process = FORKS.Process(target=_one_run, args=(runs._log(run), json.dumps(run.experiment.to_json()), arguments))
    process.start()
    return _LikePopen(process)


class _LikePopen:
    def __init__(self, process):
        self.process = process
        self.kill, self.terminate = process.kill, process.terminate

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()


def _one_run(log, experiment, arguments):
    os.setsid()
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdin = io.StringIO(experiment)
    try:
        one_run.main(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
