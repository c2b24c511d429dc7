"""Backbones from outside the library: what they may be, and what is said of what they must not give."""

import pytest
import torch
from torch import nn

from circlet.models import Embedder, SmallResNet, backbone, probe


def make(channels, *, width=4, dropout=0.0):
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.Dropout(dropout))


def test_a_function_a_class_and_a_module():
    made = backbone(make, channels=1, width=6, dropout=0.3)
    assert (made[0].in_channels, made[0].out_channels, made[1].p) == (1, 6, 0.3)
    assert isinstance(backbone(SmallResNet, channels=3, width=16, dropout=0.3), SmallResNet)  # which has no dropout
    network = make(3)
    assert backbone(network, image_size=(8, 8)) is network
    model = Embedder(network, 5, image_size=(8, 8), pooling="average")
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 5)


def test_a_function_with_such_parameters_is_told_of_dropout_and_pooling():
    told = []

    def mine(channels, *, pooling):
        told.append(pooling)
        return make(channels)

    backbone(mine, pooling="own")
    backbone(mine)
    assert told == ["own", "average"]


def test_a_network_on_the_meta_device_is_tried_there():
    with torch.device("meta"):
        network = make(3)
    assert probe(network, channels=3, image_size=(8, 8)).is_meta


def test_weights_are_loaded_into_ones_own(tmp_path):
    source = make(3)
    torch.save(source.state_dict(), tmp_path / "mine.pth")
    assert torch.equal(backbone(make, weights=tmp_path / "mine.pth")[0].weight, source[0].weight)


def refuses(images):
    assert images.shape[2] == 16, "16 pixels"


class Gives(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, images):
        return self.result(images)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: [x], "gave list"),
        (lambda x: None, "gave NoneType"),
        (lambda x: x.flatten(2), r"gave shape \(2, 3, 64\)"),
        (lambda x: x.flatten(), r"gave shape \(384,\)"),
        (lambda x: x[:1], r"gave shape \(1, 3, 8, 8\)"),
        (lambda x: x[:, :0], r"gave shape \(2, 0, 8, 8\)"),
        (lambda x: x.long(), "gave torch.int64"),
        (lambda x: x / 0, "gave values that are not finite"),
        (lambda x: x @ x.new_ones(5, 5), r"failed on images \(2, 3, 8, 8\) \("),
        (refuses, r"failed on images \(2, 3, 8, 8\) \(16 pixels"),
    ],
)
def test_what_is_no_feature_is_named(result, message):
    def mine(channels):
        return Gives(result)

    expected = rf"{message}.*, expected feature maps .* or vectors .*, finite floats"
    with pytest.raises(ValueError, match=rf"^backbone .*test_features:.*mine: {expected}"):
        backbone(mine, image_size=(8, 8))
    with pytest.raises(ValueError, match=rf"^backbone .*test_features.Gives: {expected}"):
        Embedder(backbone(mine), 4, image_size=(8, 8))


def test_the_pass_changes_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    probe(network, channels=3, image_size=(8, 8))
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (3, {}, "backbone builtins:int: found int, expected a torch.nn.Module, or a function"),
        (lambda channels: "net", {}, "backbone .*lambda.*: gave str, expected a torch.nn.Module"),
        (make, {"pretrained": True}, "pretrained: found True with a backbone of your own, expected a file of weights"),
        ("small", {"width": 3}, "width: found with backbone 'small', expected no options"),
    ],
)
def test_wrong_use(given, options, message):
    with pytest.raises(ValueError, match=message):
        backbone(given, **options)
