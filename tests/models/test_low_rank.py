"""Low-rank adapters: nothing at first, trained alone, and folded into the weights."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from circlet.models import ResNet50
from circlet.models.low_rank import add_low_rank, merge_low_rank


class Net(nn.Module):
    """1x1, depthwise, grouped 1x1 and 3x3 convolutions, attention, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.point = nn.Conv2d(3, 8, 1, stride=2)
        self.depth = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 16, bias=False), nn.GELU(), nn.Linear(16, 4))

    def forward(self, x):
        maps = self.norm(self.wide(self.grouped(self.depth(self.point(x)))))
        tokens = maps.flatten(2).mT.contiguous()
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        return self.mlp(self.out((query @ key.mT).softmax(-1) @ value).mean(1))


ADAPTED = ("point", "qkv", "out", "mlp.0", "mlp.2")
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def made():
    torch.manual_seed(0)
    return Net().eval()


def train(network, steps=3):
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        network(IMAGES).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [False, True])
def test_at_first_the_network_computes_what_it_did(memory_format, training):
    network = made().to(memory_format=memory_format).train(training)
    before = copy.deepcopy(network)(IMAGES)
    assert add_low_rank(network, rank=2) == 5
    after = network(IMAGES)
    assert torch.equal(after, before)
    assert network.point.weight.stride() == network.point.parametrizations.weight.original.stride()


def test_what_is_adapted_and_what_is_trained():
    network = made()
    add_low_rank(network, rank=2)
    adapted = [name for name, layer in network.named_modules() if parametrize.is_parametrized(layer)]
    assert tuple(adapted) == ADAPTED
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {f"{name}.parametrizations.weight.0.{part}" for name in ADAPTED for part in ("down", "up")}


def test_it_learns_and_leaves_the_weights():
    network, before = made(), made().state_dict()
    start = network(IMAGES).square().sum().item()
    add_low_rank(network, rank=2, alpha=4.0)
    train(network, steps=20)
    assert network(IMAGES).square().sum().item() < 0.9 * start
    for name in ADAPTED:
        assert torch.equal(network.get_submodule(name).parametrizations.weight.original, before[f"{name}.weight"])
    assert torch.equal(network.depth.weight, before["depth.weight"])


@pytest.mark.parametrize("alpha", [None, 1.0, 6.0])
@pytest.mark.parametrize("rank", [1, 2, 64])
def test_merged_it_computes_the_same_with_the_names_of_before(rank, alpha):
    network, plain = made(), made()
    add_low_rank(network, rank, alpha)
    train(network)
    trained = network(IMAGES)
    expected = {}
    for name in ADAPTED:  # written down: W + (alpha / rank) B A
        parts = network.get_submodule(name).parametrizations.weight
        change = parts[0].up @ parts[0].down * ((rank if alpha is None else alpha) / rank)
        expected[f"{name}.weight"] = parts.original + change.view(parts.original.shape)
    assert merge_low_rank(network) == 5
    torch.testing.assert_close(network(IMAGES), trained, rtol=0, atol=1e-6)
    assert list(network.state_dict()) == list(plain.state_dict())
    assert [type(layer) for layer in network.modules()] == [type(layer) for layer in plain.modules()]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected.get(name, plain.state_dict()[name]), rtol=0, atol=1e-6)
    plain.load_state_dict(network.state_dict())
    assert merge_low_rank(network) == 0


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 8))
def test_the_change_has_at_most_this_rank(out_features, in_features, rank):
    layer = nn.Linear(in_features, out_features)
    before = layer.weight.detach().clone()
    network = nn.Sequential(layer)
    add_low_rank(network, rank)
    nn.init.normal_(layer.parametrizations.weight[0].up)
    merge_low_rank(network)
    assert int(torch.linalg.matrix_rank(layer.weight - before, atol=1e-5)) <= min(rank, out_features, in_features)


def test_adapters_go_into_a_checkpoint_and_back():
    network, other = made(), made()
    add_low_rank(network, rank=2)
    train(network)
    add_low_rank(other, rank=2)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(IMAGES), network(IMAGES))


def test_targets_by_name():
    network = made()
    assert add_low_rank(network, 2, targets=lambda name, layer: name.startswith("mlp")) == 2
    assert not parametrize.is_parametrized(network.point)


def test_blocks_and_training_with_adapters(tmp_path):
    """Depth, freezing and layer decay know them as parts of their layers."""
    from circlet.models.depth import depth_of
    from circlet.training import OptimizerConfig
    from circlet.training.freezing import Freezing
    from circlet.training.optimizer import build_optimizer

    model = nn.Module()
    with torch.device("meta"):
        model.backbone = ResNet50()
    plain = depth_of(model.backbone)
    assert add_low_rank(model.backbone, rank=4) == 2 * 16 + 4
    depth = depth_of(model.backbone)
    for name, place in depth.items():
        assert place == plain[name.partition(".parametrizations")[0].removesuffix(".weight") + ".weight"
                              if "parametrizations" in name else name], name  # fmt: skip
    config = OptimizerConfig(layer_decay=0.5, train_blocks=2)
    Freezing(model, config)
    groups = build_optimizer(model, nn.Module(), config).param_groups
    assert [(len(group["params"]), group["lr"] / config.learning_rate) for group in groups] == [(4, 1.0), (4, 0.5)]


def test_shared_and_otherwise_parametrized_weights_are_left_alone():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), weight_norm(nn.Linear(3, 3)), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    assert add_low_rank(network, rank=1) == 1
    assert merge_low_rank(network) == 1
    assert parametrize.is_parametrized(network[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank: found 0, expected at least 1"),
        ({"rank": 1, "alpha": 0.0}, "alpha: found 0.0, expected a finite number above 0"),
        ({"rank": 1, "targets": lambda name, layer: False}, "targets: found no layer of Net to adapt"),
    ],
)
def test_bad_settings(settings, message):
    network = made()
    with pytest.raises(ValueError, match=message):
        add_low_rank(network, **settings)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_adapters_upon_adapters_are_refused():
    network = made()
    add_low_rank(network, rank=1)
    with pytest.raises(ValueError, match=r"module: found low-rank adapters in it, expected none \(merge_low_rank"):
        add_low_rank(network, rank=1)


def test_torchs_own_attention_uses_its_adapter():
    """It takes the weight of its last layer itself, without calling that layer."""
    network = nn.MultiheadAttention(4, 2, batch_first=True).eval()
    tokens = torch.randn(1, 3, 4)
    before = network(tokens, tokens, tokens)[0]
    assert add_low_rank(network, rank=2) == 1
    torch.testing.assert_close(network(tokens, tokens, tokens)[0], before)
    nn.init.normal_(network.out_proj.parametrizations.weight[0].up)
    changed = network(tokens, tokens, tokens)[0]
    assert not torch.allclose(changed, before, atol=1e-3)
    merge_low_rank(network)
    torch.testing.assert_close(network(tokens, tokens, tokens)[0], changed)
