"""Batch norms folded into convolutions: the same numbers, and the network as it is where they would not be."""

import copy

import pytest
import torch
from torch import nn

from circlet.models import ResNet50, SmallResNet, backbone, folded
from circlet.models.efficientnet_lite import EfficientNetLite


def shaken(network):
    """With statistics, scales and shifts that do something."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


def num_norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("network", "side", "left"),
    [(EfficientNetLite(0), 64, 0), (EfficientNetLite(2), 65, 0), (ResNet50(3), 64, 0), (SmallResNet(3), 32, None)],
)
def test_the_same_numbers_without_batch_norms(network, side, left):
    network = shaken(network)
    before = copy.deepcopy(network.state_dict())
    images = torch.rand(2, 3, side, side)
    found = folded(network, images[:1])
    assert found is not network
    assert num_norms(found) < num_norms(network)
    if left is not None:
        assert num_norms(found) == left
    with torch.no_grad():
        expected, given = network(images), found(images)
    torch.testing.assert_close(given, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_real_network_in_double_precision():
    network = backbone("efficientnet_lite0", pretrained=True).eval().double()
    images = torch.rand(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(network, images)(images), network(images), atol=1e-9, rtol=1e-9)


class Twice(nn.Module):
    """What the convolution gives goes past the batch norm too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class Late(Twice):
    """Something happens between the two."""

    def forward(self, x):
        return self.norm(self.conv(x).relu())


class Shared(Twice):
    """One convolution, two batch norms after it."""

    def __init__(self):
        super().__init__()
        self.other = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + self.other(y)


@pytest.mark.parametrize("network", [Twice(), Late(), Shared(), nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten())])
def test_what_cannot_be_folded_stays_as_it_is(network):
    network = shaken(network)
    assert folded(network, torch.rand(1, 3, 8, 8)) is network


def test_modes_are_given_back():
    network = shaken(SmallResNet(3)).train()
    assert not folded(network, torch.rand(1, 3, 32, 32)).training
    assert network.training
