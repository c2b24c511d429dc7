"""Digests: the same for the same, another for anything that changes the features."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from circlet.features import digest, digest_of_module

VALUES = st.recursive(
    st.text() | st.binary() | st.integers() | st.floats(allow_nan=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def typed(value):
    """A value that is equal to another only if their types are, too."""
    if isinstance(value, tuple):
        return ("tuple", *map(typed, value))
    return (type(value).__name__, repr(value))


@given(st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=4))
def test_two_sequences_have_one_digest_only_if_they_are_the_same(a, b):
    assert (digest(*a) == digest(*b)) == (typed(tuple(a)) == typed(tuple(b)))


def test_a_digest_is_a_name_and_a_key():
    assert len(bytes.fromhex(digest("x"))) == 16
    assert len({digest(), digest(()), digest(""), digest(b""), digest(0), digest(0.0), digest(False)}) == 7
    assert digest(np.float64(0.5)) == digest(0.5)


@pytest.mark.parametrize("part", [None, [1], {"a": 1}, np.int64(1), (1, None)])
def test_parts_whose_text_may_not_say_all(part):
    with pytest.raises(ValueError, match=r"parts: found .*, expected str, bytes, int, float or a tuple of them"):
        digest(part)


class Net(nn.Module):
    def __init__(self, dtype=torch.float32, stride=1, scale=1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, stride=stride, dtype=dtype)
        self.norm = nn.BatchNorm2d(2)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.arange(54.0).reshape(2, 3, 3, 3))
            self.conv.bias.zero_()


class Other(Net):
    pass


def changed(change):
    net = Net()
    with torch.no_grad():
        change(net)
    return net


DIFFERENT = {
    "a weight": changed(lambda net: net.conv.weight[0, 0, 0, 0].add_(1e-6)),
    "a sign of zero": changed(lambda net: net.conv.bias[0].copysign_(torch.tensor(-1.0))),
    "a running mean": changed(lambda net: net.norm.running_mean.add_(1)),
    "a count": changed(lambda net: net.norm.num_batches_tracked.add_(1)),
    "a buffer that is not saved": Net(scale=2.0),
    "dtype": Net(torch.bfloat16),
    "structure": Net(stride=2),
    "class": Other(),
}


@pytest.mark.parametrize("net", DIFFERENT.values(), ids=DIFFERENT)
def test_whatever_changes_the_features_changes_the_digest(net):
    assert digest_of_module(net) != digest_of_module(Net())


def test_the_same_network_has_the_same_digest():
    net = Net()
    net.conv.weight.data = net.conv.weight.data.contiguous(memory_format=torch.channels_last)
    net.requires_grad_(False).train()
    assert digest_of_module(net) == digest_of_module(Net())


def test_the_code_of_a_network_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own_net_of_digests.py"
    path.write_text("from torch import nn\nclass Own(nn.Module):\n    def forward(self, x):\n        return x\n")
    from own_net_of_digests import Own

    before = digest_of_module(nn.Sequential(Own()))
    path.write_text(path.read_text().replace("return x", "return x + 1"))
    assert digest_of_module(nn.Sequential(Own())) != before


def test_a_digest_lasts():
    """What was kept by an earlier version, or another process, is found again."""
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(6.0).reshape(3, 2))
        layer.bias.zero_()
    assert digest_of_module(layer) == "8ad198cadf0881646ebbb2389cb7a390"


class WithState(nn.Module):
    def get_extra_state(self):
        return {"a": 1}


def test_networks_without_numbers():
    with pytest.raises(ValueError, match="module: found a tensor on the device meta as 'bias', expected"):
        digest_of_module(nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match="module: found dict as '_extra_state', expected"):
        digest_of_module(WithState())
    assert len(digest_of_module(nn.Identity())) == 32
