"""The moving average of the weights: what it is, where it is used, and that it goes on after an interruption."""

import pytest
import torch
from torch import nn

from circlet.training import OptimizerConfig, load, model_weights
from circlet.training.averaging import WeightAverage
from tests.training.test_loop import Killed, same_state
from tests.training.tiny import noise, parts, run


def optimizer(**settings):
    return OptimizerConfig(learning_rate=1e-2, average=0.8, **settings)


def test_it_is_the_recursion_written_down():
    model = nn.Linear(2, 1)
    average = WeightAverage(model, list(model.parameters()), 0.3)
    expected = model.weight.detach().double()
    for step in range(6):
        with torch.no_grad():
            model.weight.add_(torch.randn(1, 2))
        average.update(step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    torch.testing.assert_close(average.state_dict()["weight"].double(), expected, rtol=0, atol=1e-6)


def test_the_run_has_the_average_of_its_weights(tmp_path):
    """The raw weights of each step, seen at its beginning, averaged by hand."""
    seen = []
    model, objective = parts("pair")

    def watch(points, labels):
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return noise(points, labels)

    from circlet.training import RunFolder, fit
    from tests.training.tiny import Batches, config

    folder = RunFolder.create(tmp_path / "run", {})
    fit(model, objective, Batches(), config(steps=9, optimizer=optimizer()), folder, augment=watch)
    state = load(folder.last)
    expected = dict(seen[0])
    for step, weights in enumerate([*seen[1:], {name: state["model"][name] for name in seen[0]}]):
        share = 1 - min(0.8, (1 + step) / (10 + step))
        expected = {name: torch.lerp(value, weights[name], share) for name, value in expected.items()}
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected.get(name, state["model"][name])), name
        assert torch.equal(value, model_weights(state)[name]), name


def test_training_itself_is_as_without(tmp_path):
    _, _, plain = run(tmp_path / "plain", optimizer=OptimizerConfig(learning_rate=1e-2))
    averaged, _, folder = run(tmp_path / "averaged", optimizer=optimizer())
    assert same_state(load(plain.last)["model"], load(folder.last)["model"])
    assert "averaged" not in load(plain.last)
    assert model_weights(load(plain.last)) is not None
    assert not torch.equal(averaged.head[1].weight, load(folder.last)["model"]["head.1.weight"])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(averaged.backbone[1].state_dict()[name], load(folder.last)["model"][f"backbone.1.{name}"])


def test_validation_sees_the_average_and_training_goes_on_from_the_weights(tmp_path):
    seen = []

    def validate(model):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        assert not model.training
        return {"score": float(len(seen))}

    _, _, folder = run(tmp_path / "run", optimizer=optimizer(), validate=validate)
    _, _, plain = run(tmp_path / "plain", optimizer=OptimizerConfig(learning_rate=1e-2))
    state = load(folder.best)
    assert same_state(seen[-1], dict(model_weights(state)))
    assert same_state(state["model"], load(plain.last)["model"])


@pytest.mark.parametrize("kill_at", [3, 8, 20])
def test_killed_and_resumed(tmp_path, kill_at):
    whole, _, folder = run(tmp_path / "whole", optimizer=optimizer())
    calls = iter(range(1000))

    def dying(points, labels):
        if next(calls) == kill_at:
            raise Killed
        return noise(points, labels)

    with pytest.raises(Killed):
        run(tmp_path / "cut", augment=dying, optimizer=optimizer())
    resumed, _, cut = run(tmp_path / "cut", optimizer=optimizer())
    assert same_state(dict(whole.state_dict()), dict(resumed.state_dict()))
    assert same_state(load(folder.last), load(cut.last))
    again, _, _ = run(tmp_path / "cut", optimizer=optimizer())
    assert same_state(dict(whole.state_dict()), dict(again.state_dict()))


def test_frozen_weights_are_their_own_average(tmp_path):
    begin, _ = parts()
    model, _, _ = run(tmp_path / "run", steps=8, optimizer=optimizer(train_blocks=0))
    assert same_state(dict(begin.backbone.state_dict()), dict(model.backbone.state_dict()))
    assert not torch.equal(begin.head[1].weight, model.head[1].weight)
    late, _, _ = run(tmp_path / "late", steps=8, optimizer=optimizer(freeze_backbone=8))
    assert torch.equal(begin.backbone[0].weight, late.backbone[0].weight)


def test_a_shared_parameter_has_its_average_under_all_names():
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    average = WeightAverage(model, list(model.parameters()), 0.5)
    with torch.no_grad():
        first.weight.add_(1)
    state = average.state_dict()
    assert torch.equal(state["0.weight"], state["1.weight"])
    assert not torch.equal(state["0.weight"], first.weight)


def test_an_error_in_the_meantime_leaves_the_weights():
    model = nn.Linear(2, 1)
    average = WeightAverage(model, list(model.parameters()), 0.5)
    with torch.no_grad():
        model.weight.add_(1)
    weight = model.weight.detach().clone()

    def fail():
        with average.in_place():
            assert not torch.equal(weight, model.weight)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(weight, model.weight)
