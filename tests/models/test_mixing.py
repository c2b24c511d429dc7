"""The weights between before and after."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from circlet.models.mixing import mix_states


def states():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(8, 4))
    nn.init.normal_(network[0].weight)
    return before, dict(network.state_dict())


STATES = states()


@given(st.floats(0, 1))
def test_it_is_the_mean_written_down(share):
    before, after = STATES
    mixed = mix_states(before, after, share)
    assert mixed.keys() == after.keys()
    assert mixed["1.num_batches_tracked"] == 1
    for name in ("0.weight", "0.bias", "1.running_mean", "1.running_var"):
        expected = (1 - share) * before[name].double() + share * after[name].double()
        torch.testing.assert_close(mixed[name].double(), expected, rtol=0, atol=1e-6)


def test_at_the_ends_it_is_exact_and_the_states_are_left_alone():
    before, after = states()
    weight = after["0.weight"]
    weight[0, 0], before["0.weight"][0, 0] = 1e8, 1e-8
    for share, expected in ((0.0, before), (1.0, after)):
        mixed = mix_states(before, after, share)
        assert torch.equal(mixed["0.weight"], expected["0.weight"])
        mixed["0.weight"].zero_()
        assert expected["0.weight"].any()


def test_half_precision_and_what_is_no_tensor():
    mixed = mix_states({"a": torch.zeros(2), "b": 1}, {"a": torch.ones(2, dtype=torch.bfloat16), "b": 2}, 0.5)
    assert mixed["a"].dtype == torch.bfloat16
    assert mixed["b"] == 2
    assert mix_states({}, {}, 0.5) == {}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_outside(share):
    with pytest.raises(ValueError, match=rf"share: found {share}, expected 0 to 1"):
        mix_states({}, {}, share)


def test_states_of_two_networks():
    before, after = states()
    with pytest.raises(ValueError, match=r"after: found '0.bias', which the other state lacks"):
        mix_states({name: value for name, value in before.items() if name != "0.bias"}, after, 0.5)
    with pytest.raises(ValueError, match=r"before: found 'more', which the other state lacks"):
        mix_states({**before, "more": 1}, after, 0.5)
    with pytest.raises(ValueError, match=r"before: found \(1,\) under '0.bias', expected shape \(3,\)"):
        mix_states({**before, "0.bias": torch.zeros(1)}, after, 0.5)
    with pytest.raises(ValueError, match=r"before: found str under '0.bias', expected shape"):
        mix_states({**before, "0.bias": "three"}, after, 0.5)
