"""Parameter groups and schedules."""

import math

import pytest
import torch

from circlet.training import OptimizerConfig
from circlet.training.optimizer import build_optimizer, build_schedule, factor, set_factor
from tests.training.tiny import parts


def test_every_parameter_is_in_one_group_with_its_rate_and_decay():
    model, objective = parts()
    config = OptimizerConfig(learning_rate=1.0, backbone_lr_scale=0.1, class_lr_scale=10.0, weight_decay=0.5)
    optimizer = build_optimizer(model, objective, config)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    everything = [*model.named_parameters(), *objective.named_parameters()]
    assert len(of) == len(everything) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in everything:
        group = of[id(parameter)]
        rate = 0.1 if name.startswith("backbone") else 10.0 if name.startswith("classes") else 1.0
        assert group["lr"] == rate, name
        assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0.0), name


def test_frozen_parameters_are_left_out():
    model, objective = parts("pair")
    model.backbone.requires_grad_(False)
    groups = build_optimizer(model, objective, OptimizerConfig()).param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in model.head.parameters()}
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(model, objective, OptimizerConfig())


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_warm_up_rises_linearly_to_the_highest_rate(schedule):
    config = OptimizerConfig(warmup=0.2, schedule=schedule)
    rates = [factor(config, step, 50) for step in range(50)]
    assert rates[:10] == [(step + 1) / 10 for step in range(10)]
    assert max(rates) == 1.0
    assert rates[-1] == {"cosine": 0.5 * (1 + math.cos(math.pi * 39 / 40)), "step": 0.1**3, "constant": 1.0}[
        schedule
    ] or math.isclose(rates[-1], 0.1**3)


def test_schedule_drives_all_groups():
    model, objective = parts()
    config = OptimizerConfig(learning_rate=1.0, class_lr_scale=2.0, warmup=0.0)
    optimizer = build_optimizer(model, objective, config)
    schedule = build_schedule(optimizer, config, 10)
    rates = []
    for _ in range(10):
        rates.append({group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    expected = [0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert rates == [{rate, 2 * rate} for rate in expected]


def test_adam_has_its_weight_decay_in_the_gradient():
    """The first step of Adam has the length of the learning rate in every entry, whatever the size of the gradient."""
    model, objective = parts("pair")
    optimizer = build_optimizer(model, objective, OptimizerConfig(name="adam", learning_rate=0.1, weight_decay=0.5))
    before = model.head[1].weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.head[1].weight.detach(), before - 0.1 * before.sign(), rtol=0, atol=1e-4)


def test_frozen_backbone_moves_after_its_steps(tmp_path):
    from tests.training.tiny import run

    begin, _ = parts()
    for steps, frozen in ((4, True), (5, False)):
        model, _, _ = run(tmp_path / f"{steps}", steps=steps, optimizer=OptimizerConfig(freeze_backbone=4))
        for ours, first in zip(model.backbone.parameters(), begin.backbone.parameters(), strict=True):
            assert torch.equal(ours, first) == frozen
        assert not torch.equal(model.head[1].weight, begin.head[1].weight)


def test_frozen_batch_norm_keeps_everything(tmp_path):
    from tests.training.tiny import run

    begin, _ = parts()
    optimizer = OptimizerConfig(freeze_batchnorm=True)
    model, _, _ = run(tmp_path / "run", optimizer=optimizer, validate=lambda model: {"score": 0.0})
    for name, value in begin.backbone[1].state_dict().items():
        assert torch.equal(model.backbone[1].state_dict()[name], value), name
    assert not torch.equal(model.backbone[0].weight, begin.backbone[0].weight)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", 0.0),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("freeze_backbone", -1),
        ("layer_decay", 0.0),
        ("layer_decay", 1.5),
        ("train_blocks", -1),
        ("average", 1.0),
        ("average", -0.5),
    ],
)
def test_bad_settings(setting, value):
    with pytest.raises(ValueError, match=f"{setting}: found {value}"):
        OptimizerConfig(**{setting: value})


def test_clipping_bounds_the_step_of_sgd(tmp_path):
    from tests.training.tiny import run

    _, _, folder = run(tmp_path / "run", steps=10, optimizer=OptimizerConfig(name="sgd", clip_norm=None))
    assert all(torch.tensor(line["gradient_norm"]).isfinite() for line in folder.read_metrics())


def test_each_block_has_the_rate_of_the_next_one_times_the_decay():
    model, objective = parts()
    model.backbone.add_module("3", torch.nn.Linear(16, 16))
    config = OptimizerConfig(learning_rate=1.0, backbone_lr_scale=0.5, layer_decay=0.1, weight_decay=0.5)
    optimizer = build_optimizer(model, objective, config)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in [*model.named_parameters(), *objective.named_parameters()]:
        block = name.startswith("backbone") + name.startswith(("backbone.0", "backbone.1"))
        assert of[id(parameter)]["lr"] == pytest.approx([1.0, 0.5, 0.05][block]), name
        assert of[id(parameter)]["weight_decay"] == (0.5 if parameter.ndim > 1 else 0.0), name
    assert len(of) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert optimizer.param_groups[0]["lr"] == 0.5  # what metrics.jsonl has: the backbone's


def test_without_decay_the_groups_are_those_of_earlier_checkpoints():
    model, objective = parts()
    groups = build_optimizer(model, objective, OptimizerConfig()).param_groups
    names = {id(p): name for name, p in [*model.named_parameters(), *objective.named_parameters()]}
    assert [[names[id(p)] for p in group["params"]] for group in groups] == [
        ["backbone.0.weight"],
        ["backbone.0.bias", "backbone.1.weight", "backbone.1.bias"],
        ["head.1.weight"],
        ["head.1.bias"],
        ["classes.weight"],
    ]


def test_the_factor_between_two_steps():
    config = OptimizerConfig(warmup=0.2)
    assert factor(config, 9.5, 50) == 1.0
    assert factor(config, 50.0, 50) == pytest.approx(0, abs=1e-12)
    assert factor(config, 20, 50) > factor(config, 20.5, 50) > factor(config, 21, 50)
    optimizer = build_optimizer(*parts(), config)
    schedule = build_schedule(optimizer, config, 10)
    set_factor(optimizer, schedule, 0.25)
    assert {group["lr"] for group in optimizer.param_groups} == {0.25 * config.learning_rate}
