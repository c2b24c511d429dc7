"""torchvision and timm beside a CPU-only torch."""

import warnings

import pytest
import torch


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
