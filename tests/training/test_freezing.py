"""Frozen parts cost nothing, and what is trained comes out as if their gradients had been dropped."""

import pytest
import torch
from torch import nn

import circlet
from circlet.training import LoopConfig, OptimizerConfig
from circlet.training.clip import clip_grad_norm_
from circlet.training.freezing import Freezing
from circlet.training.optimizer import build_optimizer, build_schedule
from tests.training.test_loop import same_state
from tests.training.tiny import Batches, noise, parts, run


class Counted(torch.autograd.Function):
    """The identity; counts how often a gradient comes through."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Counted.calls += 1
        return gradient


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.has_graph = nn.Linear(12, 12), nn.BatchNorm1d(12), []

    def forward(self, x):
        y = self.norm(Counted.apply(self.linear(x)))
        self.has_graph.append(y.requires_grad)
        return y.relu()


class Blocks(nn.Module):
    def __init__(self, head=True):
        super().__init__()
        self.backbone = nn.Sequential(Block(), Block(), Block())
        self.head = nn.Linear(12, 8) if head else nn.Identity()

    def forward(self, x):
        return self.head(self.backbone(x))


def fit(path, model, steps=6, objective=None, chunk=0, **optimizer):
    torch.manual_seed(0)
    Counted.calls = 0
    config = LoopConfig(steps=steps, log_every=2, precision="fp32", chunk=chunk, optimizer=OptimizerConfig(**optimizer))
    circlet.fit(model, objective or circlet.CircleLoss(gamma=16.0), Batches(), config, path, augment=noise)
    return [block.has_graph for block in model.backbone]


def dropping(steps, frozen_steps):
    """The loop as it was: all gradients are computed, and those of the backbone dropped in the first steps."""
    model, objective = parts("joint")
    config = OptimizerConfig(learning_rate=1e-2)
    optimizer = build_optimizer(model, objective, config)
    schedule = build_schedule(optimizer, config, steps)
    model.train()
    taken = ((epoch, place) for epoch in range(steps) for place in range(len(Batches())))
    for step, (epoch, place) in zip(range(steps), taken, strict=False):
        torch.manual_seed(step)
        points, labels = noise(*next(iter(Batches().epoch(epoch, place))))
        optimizer.zero_grad()
        objective(model(points), labels).backward()
        if step < frozen_steps:
            model.backbone.zero_grad()
        clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], config.clip_norm)
        optimizer.step()
        schedule.step()
    return model


@pytest.mark.parametrize("frozen_steps", [0, 1, 4, 9])
def test_the_weights_are_those_of_dropped_gradients(tmp_path, frozen_steps):
    optimizer = OptimizerConfig(learning_rate=1e-2, freeze_backbone=frozen_steps)
    model, _, _ = run(tmp_path / "run", steps=9, precision="fp32", optimizer=optimizer)
    assert same_state(dict(model.state_dict()), dict(dropping(9, frozen_steps).state_dict()))


def test_a_frozen_backbone_has_no_graph_and_no_backward_pass(tmp_path):
    model = Blocks()
    assert fit(tmp_path / "run", model, freeze_backbone=4) == [[False] * 4 + [True] * 2] * 3
    assert Counted.calls == 2 * 3
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("train_blocks", [None, 0, 1, 2, 3])
def test_the_first_blocks_are_frozen_with_their_batch_norms(tmp_path, train_blocks):
    model = Blocks()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graphs = fit(tmp_path / "run", model, train_blocks=train_blocks)
    trained = 3 if train_blocks is None else train_blocks
    assert graphs == [[place >= 3 - trained] * 6 for place in range(3)]
    assert Counted.calls == 6 * trained
    for name, value in model.state_dict().items():
        is_frozen = name.startswith("backbone") and int(name.split(".")[1]) < 3 - trained
        assert torch.equal(value, before[name]) == is_frozen, name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_blocks_in_the_first_steps(tmp_path):
    model = Blocks()
    assert fit(tmp_path / "run", model, train_blocks=1, freeze_backbone=5) == [
        [False] * 6,
        [False] * 6,
        [False] * 5 + [True],
    ]


@pytest.mark.parametrize("chunk", [0, 4])
@pytest.mark.parametrize("settings", [{"freeze_backbone": 3}, {"train_blocks": 0}])
def test_a_backbone_without_a_head(tmp_path, chunk, settings):
    """While it is frozen nothing is trained, or class weights alone; an embedding is made once a step then."""
    from circlet.training import Objective

    torch.manual_seed(1)
    objective = Objective(circlet.CircleLoss(gamma=16.0), "pair" if "freeze_backbone" in settings else "class", 6, 12)
    model = Blocks(head=False)
    first = model.backbone[0].linear.weight.detach().clone()
    graphs = fit(tmp_path / "run", model, objective=objective, chunk=chunk, **settings)[2]
    passes = 4 if chunk else 1
    assert graphs[: 3 * passes] == [False] * 3 * passes
    assert torch.equal(first, model.backbone[0].linear.weight) == ("train_blocks" in settings)


def test_a_loss_without_a_gradient_is_still_an_error(tmp_path):
    class Detached(nn.Module):
        def forward(self, embeddings, labels):
            return embeddings.detach().sum()

    with pytest.raises(RuntimeError, match="does not require grad"):
        fit(tmp_path / "run", Blocks(), objective=Detached())


def test_what_the_user_has_frozen_stays_so(tmp_path):
    model = Blocks()
    model.backbone[2].linear.requires_grad_(False)
    before = model.backbone[2].linear.weight.clone()
    fit(tmp_path / "run", model, freeze_backbone=2, freeze_batchnorm=True)
    assert torch.equal(before, model.backbone[2].linear.weight)
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == [
        "backbone.2.linear.weight",
        "backbone.2.linear.bias",
    ]


def test_stages_one_after_another_train_more_each_time(tmp_path):
    model = Blocks()
    for stage, train_blocks in enumerate((0, 1, None)):
        before = [block.linear.weight.clone() for block in model.backbone]
        fit(tmp_path / f"{stage}", model, train_blocks=train_blocks)
        moved = [not torch.equal(w, block.linear.weight) for w, block in zip(before, model.backbone, strict=True)]
        assert moved == [[False] * 3, [False, False, True], [True] * 3][stage]


def test_an_error_gives_the_model_back_as_it_was(tmp_path):
    model = Blocks()

    def failing(points, labels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        circlet.fit(model, circlet.CircleLoss(), Batches(), LoopConfig(optimizer=OptimizerConfig(train_blocks=0)),
                    tmp_path / "run", augment=failing)  # fmt: skip
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("cut", [2, 4, 5])
def test_resumed_before_and_after_the_backbone_is_trained(tmp_path, cut):
    """Bit for bit, in the order of the optimiser's groups too."""
    settings = {"freeze_backbone": 4, "train_blocks": 2, "layer_decay": 0.5, "average": 0.9}

    class Cut(BaseException):
        pass

    def whole_and_cut(path, stop=None):
        torch.manual_seed(0)
        model, steps = Blocks(), iter(range(100))

        def augment(points, labels):
            if next(steps) == stop:
                raise Cut
            return noise(points, labels)

        config = LoopConfig(steps=7, checkpoint_every=1, precision="fp32", optimizer=OptimizerConfig(**settings))
        circlet.fit(model, circlet.CircleLoss(gamma=16.0), Batches(), config, path, augment=augment)
        return model

    whole = whole_and_cut(tmp_path / "whole")
    with pytest.raises(Cut):
        whole_and_cut(tmp_path / "cut", stop=cut)
    resumed = whole_and_cut(tmp_path / "cut")
    assert same_state(dict(whole.state_dict()), dict(resumed.state_dict()))


def test_a_norm_without_parameters_goes_with_its_block():
    model = nn.Module()
    model.backbone = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False)
    )
    freezing = Freezing(model, OptimizerConfig(train_blocks=1))
    assert [norm.training for norm in (model.backbone[1], model.backbone[3])] == [False, True]
    model.eval()
    freezing.training()
    assert [norm.training for norm in (model.backbone[1], model.backbone[3])] == [False, True]


def test_more_blocks_than_there_are_and_a_model_without_a_backbone(tmp_path):
    with pytest.raises(ValueError, match="train_blocks: found 4, expected at most 3, all the blocks of Sequential"):
        fit(tmp_path / "run", Blocks(), train_blocks=4)
    config = LoopConfig(optimizer=OptimizerConfig(train_blocks=1))
    with pytest.raises(ValueError, match="train_blocks: found 1 with Linear, expected None, or a model with"):
        circlet.fit(nn.Linear(12, 4), circlet.CircleLoss(), Batches(), config, tmp_path / "run")
