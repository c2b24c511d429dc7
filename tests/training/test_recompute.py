"""Activation checkpointing changes no number, keeps less, and leaves nothing behind."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from circlet.models import SmallResNet
from circlet.training.blocks import module_blocks
from circlet.training.recompute import recomputing
from tests.training.test_loop import same_state
from tests.training.tiny import run


class Block(nn.Module):
    """All that is not the same when it is done twice, unless care is taken: statistics, dropout, a norm by steps."""

    def __init__(self, width=24):
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Linear(width, width)),
            nn.BatchNorm1d(width, momentum=None),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
        )
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, *, scale=1.0):
        self.calls = self.calls + 1  # another tensor, not another value of the same
        return x + scale * self.calls * self.layers(x)


class Net(nn.Module):
    def __init__(self, blocks=8):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))

    def forward(self, x):
        for block in self.blocks:
            x = block(x, scale=0.5)
        return x


def steps(model, blocks, dtype=None, passes=2):
    """What two steps leave behind, in one of them two passes before their gradients; and the bytes that were kept."""
    torch.manual_seed(1)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for _ in range(2):
            with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None), recomputing(blocks):
                rows = [model(torch.randn(32, 24)) for _ in range(passes)]
            torch.stack(rows).float().square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"state": model.state_dict(), "gradients": gradients, "next": torch.rand(3)}, sum(kept.values())


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_every_number_is_that_of_a_step_without_it(dtype):
    torch.manual_seed(0)
    plain = Net()
    recomputed = copy.deepcopy(plain)
    expected, kept = steps(plain, [], dtype)
    found, kept_of_blocks = steps(recomputed, recomputed.blocks, dtype)
    assert same_state(expected, found)
    assert int(plain.blocks[0].layers[1].num_batches_tracked) == 4
    assert kept_of_blocks < 0.5 * kept


def test_nothing_is_left_behind():
    torch.manual_seed(0)
    model = Net(2)
    own = model.blocks[1].forward
    model.blocks[1].forward = own
    with recomputing(model.blocks):
        assert all("forward" in vars(block) for block in model.blocks)
    assert "forward" not in vars(model.blocks[0])
    assert vars(model.blocks[1])["forward"] is own


def test_without_gradients_a_block_is_called_as_ever(monkeypatch):
    from circlet.training import recompute

    monkeypatch.setattr(recompute, "checkpoint", None)
    model = Net(2)
    with torch.no_grad(), recomputing(model.blocks):
        model(torch.randn(4, 24))


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Sequential(nn.Linear(12, 24), Block(), Block()), nn.Linear(24, 8)

    def forward(self, x):
        return self.head(self.backbone(x))


@pytest.mark.parametrize("settings", [{}, {"chunk": 6, "precision": "bf16"}])
def test_a_training_is_the_same(tmp_path, monkeypatch, settings):
    from tests.training import tiny

    monkeypatch.setattr(tiny, "Net", Embedder)
    plain, _, _ = run(tmp_path / "plain", steps=4, **settings)
    model, _, _ = run(tmp_path / "recomputed", steps=4, grad_checkpointing=True, **settings)
    assert same_state(dict(plain.state_dict()), dict(model.state_dict()))


def test_a_network_of_single_layers_has_nothing_to_recompute(tmp_path):
    with pytest.raises(ValueError, match=r"loop.grad_checkpointing: found no block of several layers"):
        run(tmp_path / "run", grad_checkpointing=True)


def names(model):
    return list(module_blocks(model))


def test_blocks_of_networks():
    from circlet.models import backbone

    with torch.device("meta"):
        assert names(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False)) == [
            "layers.0",
            "layers.1",
            "layers.2",
        ]
        resnet = backbone("resnet50")
    assert len(names(resnet)) == 16
    assert all(type(block).__name__ == "Bottleneck" for block in module_blocks(resnet).values())
    assert names(Embedder()) == ["backbone.1", "backbone.2"]
    assert names(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == []
    assert names(nn.Linear(2, 2)) == []


def test_a_block_that_shares_a_parameter_is_none():
    net = SmallResNet(width=8)
    net.layers[5].norm.weight = net.layers[4][1].weight
    assert names(net) == ["layers.0", "layers.1", "layers.3", "layers.5.first"]
    net = Net(3)
    net.blocks[0].layers[1].bias = net.blocks[2].layers[1].bias
    assert names(net) == ["blocks.1"]
