"""The linear head on features: where it starts, that it learns, and that a run is a function of its seed."""

import pytest
import torch

from circlet.losses import AMSoftmaxLoss, CircleLoss, SoftmaxLoss, SoftTripleLoss
from circlet.training import Objective
from circlet.training.image_batches import BatchConfig
from circlet.transfer import HeadConfig, LinearMap, train_head, unchanged
from circlet.transfer.head import begin_at_means

BATCH = BatchConfig(classes=4, samples=3)


def a_set(seed=0, features=8, num_classes=6, images=6, noise=0.7):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes * images) // images
    centres = torch.randn(num_classes, features, generator=generator)
    return centres[labels] + noise * torch.randn(len(labels), features, generator=generator), labels


def trained(steps=30, rate=1e-2, *, level="pair", views=1, seed=0, loss=None, memory=0, observe=None, **settings):
    rows, labels = a_set()
    torch.manual_seed(seed)
    objective = Objective(loss or CircleLoss(margin=0.4, gamma=16.0), level, 6, rows.shape[1], memory=memory)
    many = [rows, *(a_set(seed=view)[0] for view in range(1, views))]
    config = HeadConfig(steps, rate)
    return train_head(
        many, labels, unchanged(8), objective, config, BATCH, seed=seed, observe=observe, **settings
    )  # fmt: skip


def test_no_step_leaves_it_at_its_start():
    found = trained(steps=0)
    assert found.log == []
    assert torch.equal(found.head.weight, torch.eye(8))
    assert torch.equal(found.head.bias, torch.zeros(8))


@pytest.mark.parametrize("level", ["pair", "class", "joint"])
def test_the_loss_falls(level):
    log = trained(80, level=level, log_every=20).log
    assert [line["step"] for line in log] == [20, 40, 60, 80]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert log[0]["learning_rate"] > log[-1]["learning_rate"] >= 0
    assert all(line["gradient_norm"] > 0 for line in log)


@pytest.mark.parametrize("settings", [{}, {"level": "joint"}, {"views": 3}, {"memory": 20}])
def test_a_run_is_a_function_of_its_seed(settings):
    first = trained(**settings)
    torch.rand(7)
    again, other = trained(**settings), trained(**settings, seed=1)
    assert torch.equal(first.head.weight, again.head.weight)
    assert first.log == again.log
    assert not torch.equal(first.head.weight, other.head.weight)


def test_the_start_is_not_changed_in_place():
    start = unchanged(8)
    rows, labels = a_set()
    objective = Objective(CircleLoss(), "pair", 6, 8)
    train_head([rows], labels, start, objective, HeadConfig(3, 1e-2), BATCH, seed=0)
    assert torch.equal(start.weight, torch.eye(8))


def test_every_view_is_seen():
    """Of two views, one is nan in an image: sooner or later that is met, and said."""
    rows, labels = a_set()
    broken = rows.clone()
    broken[3] = float("inf")
    objective = Objective(CircleLoss(), "pair", 6, 8)
    with pytest.raises((FloatingPointError, ValueError)):
        train_head([rows, broken], labels, unchanged(8), objective, HeadConfig(60, 1e-3), BATCH, seed=0)
    mixed, alone = trained(views=2), trained()
    assert not torch.equal(mixed.head.weight, alone.head.weight)


def test_views_that_are_the_same_are_one_view():
    rows, labels = a_set()
    heads = []
    for views in ([rows], [rows, rows.clone()]):
        objective = Objective(CircleLoss(), "pair", 6, 8)
        heads.append(train_head(views, labels, unchanged(8), objective, HeadConfig(5, 1e-2), BATCH, seed=0).head)
    assert torch.equal(heads[0].weight, heads[1].weight)


def test_what_is_observed_joins_the_log():
    seen = []

    def observe(objective, embeddings, labels):
        assert not torch.is_grad_enabled()
        seen.append((embeddings.shape, len(labels)))
        return {"wonder": 7.0}

    log = trained(10, log_every=5, observe=observe).log
    assert [line["wonder"] for line in log] == [7.0, 7.0]
    assert seen == [((12, 8), 12)] * 2


def test_a_head_that_diverges_names_the_flag():
    message = r"step \d+ of the head: found a loss of .*\(--transfer\.head\.learning-rate\)"
    with pytest.raises(FloatingPointError, match=message):
        trained(rate=1e25, level="class", loss=SoftmaxLoss())


def test_a_loss_on_cosines_does_not_diverge_but_ends_nowhere():
    """The larger the weights, the smaller the gradients: it is for the validation classes to refuse such a head."""
    found = trained(rate=1e9)
    assert torch.isfinite(found.head.weight).all()
    assert found.log[-1]["loss"] > 2 * trained().log[-1]["loss"]


def test_class_weights_begin_at_the_means():
    rows, labels = a_set()
    objective = Objective(AMSoftmaxLoss(), "class", 6, 8)
    norms = objective.classes.weight.detach().norm(dim=1).clone()
    begin_at_means(objective, rows, labels)
    weight = objective.classes.weight.detach()
    for c in range(6):
        mean = torch.nn.functional.normalize(rows[labels == c], dim=1).mean(0)
        torch.testing.assert_close(torch.nn.functional.cosine_similarity(weight[c], mean, dim=0), torch.tensor(1.0))
    torch.testing.assert_close(weight.norm(dim=1), norms)
    assert objective.classes.weight.requires_grad


def test_several_centres_and_no_class_weights_stay_as_they_are():
    rows, labels = a_set()
    begin_at_means(Objective(CircleLoss(), "pair", 6, 8), rows, labels)
    objective = Objective(SoftTripleLoss(), "class", 6, 8)
    before = objective.classes.weight.detach().clone()
    begin_at_means(objective, rows, labels)
    assert torch.equal(objective.classes.weight, before)


def test_it_may_start_anywhere():
    rows, labels = a_set()
    start = LinearMap(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(3))
    objective = Objective(CircleLoss(), "joint", 6, 3)
    found = train_head([rows], labels, start, objective, HeadConfig(20, 1e-2), BATCH, seed=0).head
    assert found.weight.shape == (3, 8)
    assert not found.weight.requires_grad


@pytest.mark.parametrize(
    ("steps", "rate", "message"),
    [
        (-1, 1e-4, "head.steps: found -1, expected 0 or a number of steps"),
        (1, 0.0, "head.learning_rate: found 0.0, expected > 0"),
        (1, float("nan"), "head.learning_rate: found nan"),
    ],
)
def test_bad_settings(steps, rate, message):
    with pytest.raises(ValueError, match=message):
        HeadConfig(steps, rate)
