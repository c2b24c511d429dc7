"""torchvision and timm beside a CPU-only torch."""

import warnings

import pytest
import torch
from torch import nn

from tests.thorough import THOROUGH

FEWER = {"resnet18": {"layers": (1, 1, 1, 1)}, "hiera_tiny_224": {"stages": (1, 1, 1, 1)}}
AS_IT_IS = ("mobilenetv4_conv_small",)  # its blocks are the stages


@pytest.fixture
def torchvision():
    # PyPI's torchvision does not load beside the CPU-only torch: its compiled operators are missing. Declaring their
    # schemas lets `import torchvision`, and so timm, pass; none of them is called by the models used here.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("torchvision")
    library._destroy()


@pytest.fixture
def timm(torchvision):
    return pytest.importorskip("timm")


@pytest.fixture
def shallow(timm, monkeypatch):
    """Networks of timm have at most two layers in each row: further ones are the same again. By name, what else."""
    create, fewer = timm.create_model, dict(FEWER)

    def create_model(name, **settings):
        network = create(name, **settings, **fewer.get(name, {}))
        if name not in fewer and name not in AS_IT_IS:
            for module in list(network.modules()):
                if isinstance(getattr(module, "blocks", None), nn.Sequential | nn.ModuleList):
                    module.blocks = module.blocks[:2]
        return network

    if not THOROUGH:
        monkeypatch.setattr(timm, "create_model", create_model)
    return fewer
