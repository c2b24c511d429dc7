"""The blocks of networks in their order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from circlet.models import MGN, BNInception, IRResNet, ResNet50, SmallResNet
from circlet.models.depth import blocks_of, depth_of


def names(network):
    return [[name for name, _ in block] for block in blocks_of(network)]


class Transformer(nn.Module):
    """As they are written: parameters of its own, blocks in a ModuleList, a norm at the end."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.embed = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(4, 2, 8) for _ in range(3))
        self.norm = nn.LayerNorm(4)


class Wrapper(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


def test_a_transformer():
    blocks = names(Transformer())
    assert blocks[0] == ["cls_token", "embed.weight", "embed.bias"]
    assert [block[0].split(".")[:2] for block in blocks[1:]] == [["blocks", str(i)] for i in range(3)]
    assert blocks[-1][-2:] == ["norm.weight", "norm.bias"]


@pytest.mark.parametrize("make", [Transformer, SmallResNet, ResNet50])
def test_a_wrapper_is_looked_into(make):
    with torch.device("meta"):
        network = make()
    assert [[f"network.{name}" for name in block] for block in names(network)] == names(Wrapper(network))


@pytest.mark.parametrize(
    ("make", "count", "first", "last"),
    [
        (SmallResNet, 5, "layers.0.0", "layers.5"),
        (ResNet50, 1 + 3 + 4 + 6 + 3, "conv1", "layer4.2"),
        (lambda: IRResNet(18), 1 + 8 + 1, "conv1", "fc"),
        (BNInception, 69, "conv1_7x7_s2", "inception_5b_pool_proj"),
        (MGN, 1 + 3 + 4 + 1 + 3 * (5 + 3) + 8, "shared.conv1", "reductions.7.0"),
    ],
)
def test_networks_of_this_library(make, count, first, last):
    with torch.device("meta"):
        network = make()
    blocks = names(network)
    assert len(blocks) == count
    assert blocks[0][0].startswith(first)
    assert blocks[-1][0].startswith(last)
    assert sorted(name for block in blocks for name in block) == sorted(name for name, _ in network.named_parameters())
    assert [depth_of(network)[block[0]] for block in blocks] == list(range(count))


def test_efficientnet_has_stem_blocks_and_last_convolution():
    """The tree of timm's EfficientNets, without timm's word on it."""
    norm = nn.BatchNorm2d(2)
    block = nn.ModuleDict({"conv_dw": nn.Conv2d(2, 2, 3), "bn1": nn.BatchNorm2d(2)})
    network = nn.Module()
    network.conv_stem, network.bn1 = nn.Conv2d(3, 2, 3), norm
    network.blocks = nn.Sequential(nn.Sequential(block), nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)))
    network.conv_head, network.bn2 = nn.Conv2d(2, 9, 1), nn.BatchNorm2d(9)
    assert [block[0] for block in names(network)] == [
        "conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.weight", "blocks.1.1.weight", "conv_head.weight"
    ]  # fmt: skip
    assert names(network)[-1] == ["conv_head.weight", "conv_head.bias", "bn2.weight", "bn2.bias"]


@given(st.lists(st.sampled_from(["linear", "norm", "relu", "pair"]), max_size=8))
def test_every_parameter_is_in_one_block_and_norms_follow_their_layer(layers):
    make = {
        "linear": lambda: nn.Linear(2, 2),
        "norm": lambda: nn.BatchNorm1d(2),
        "relu": nn.ReLU,
        "pair": lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)),
    }
    network = nn.Sequential(*(make[layer]() for layer in layers))
    blocks = blocks_of(network)
    found = [id(parameter) for block in blocks for _, parameter in block]
    assert found == [id(parameter) for parameter in network.parameters()]
    matrices = [sum(parameter.ndim == 2 for _, parameter in block) for block in blocks]
    only_norms = "norm" in layers and not {"linear", "pair"} & set(layers)
    assert matrices == ([0] if only_norms else [1] * (layers.count("linear") + 2 * layers.count("pair")))


def test_degenerate_networks():
    assert blocks_of(nn.Module()) == []
    assert names(nn.Linear(2, 1)) == [["weight", "bias"]]
    tied = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    tied[1].weight = tied[0].weight
    assert names(tied) == [["0.weight"]]


def test_a_matcher_that_is_not_timms_is_left_alone(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm.models", None)  # cannot be imported
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network.group_matcher = lambda coarse: {}
    assert len(names(network)) == 2


@pytest.mark.slow
def test_networks_of_timm(timm):
    for name, blocks in (("resnet18", 9), ("vit_tiny_patch16_224", 13), ("swin_tiny_patch4_window7_224", 13),
                         ("tf_efficientnet_lite0", 17)):  # fmt: skip
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0)
        assert max(depth_of(network).values()) == blocks - 1, name
        assert depth_of(network).keys() == dict(network.named_parameters()).keys()
        assert len(blocks_of(Wrapper(network))) == blocks
    network.group_matcher = None
    assert len(blocks_of(network)) == 18  # the last convolution by itself


@pytest.mark.slow
def test_batch_norms_of_timm_are_frozen(timm):
    """BatchNormAct2d, norm and activation in one."""
    from circlet.training import OptimizerConfig
    from circlet.training.freezing import Freezing

    model = Wrapper(timm.create_model("tf_efficientnet_lite0", num_classes=0))
    model.backbone = model.network
    norms = [module for module in model.modules() if hasattr(module, "running_mean")]
    assert {type(norm).__name__ for norm in norms} == {"BatchNormAct2d"}
    for settings, count in (({"freeze_batchnorm": True}, 49), ({"train_blocks": 1}, 45), ({}, 0)):
        freezing = Freezing(model, OptimizerConfig(**settings))
        assert sum(not norm.training for norm in norms) == count
        before = [norm.running_mean.clone() for norm in norms]
        model(torch.randn(2, 3, 32, 32))
        unchanged = [torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True)]
        assert sum(unchanged) == count
        freezing.end()
