"""What holds for every loss: invariances, reductions, degenerate batches, dtypes, sources, masks."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import circlet
from circlet import functional as F
from circlet.losses import all_losses
from tests.losses.cases import LOSSES, batch, with_reduction

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


@every_loss
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), num_classes=st.integers(2, 5), per_class=st.integers(2, 4))
def test_permutation_rotation_and_relabelling_change_nothing(loss, seed, num_classes, per_class):
    embeddings, labels = batch(num_classes, per_class, seed=seed)
    expected = loss(embeddings, labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(loss(embeddings[order], labels[order]), expected)
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    torch.testing.assert_close(loss(embeddings @ rotation, labels), expected)
    torch.testing.assert_close(loss(embeddings, -7 * labels - 3), expected)


@every_loss
def test_reductions_count_valid_anchors_only(loss):
    embeddings, labels = batch()
    labels = labels.clone()
    labels[0] = 99  # a singleton: no positive
    each = with_reduction(loss, "none")(embeddings, labels)
    assert each.shape == labels.shape
    assert each[0] == 0
    assert (each >= 0).all()
    torch.testing.assert_close(with_reduction(loss, "sum")(embeddings, labels), each.sum())
    torch.testing.assert_close(with_reduction(loss, "mean")(embeddings, labels), each.sum() / (len(labels) - 1))


@every_loss
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "all singletons"])
def test_no_valid_anchor_gives_a_differentiable_zero(loss, labels):
    embeddings = torch.randn(4, 8, requires_grad=True)
    value = loss(embeddings, torch.tensor(labels))
    value.backward()
    assert value == 0
    assert (embeddings.grad == 0).all()


@every_loss
def test_empty_and_single_row_batches(loss):
    for rows in (0, 1):
        embeddings = torch.randn(rows, 8, requires_grad=True)
        value = loss(embeddings, torch.zeros(rows, dtype=torch.int64))
        value.backward()
        assert value == 0
        assert (embeddings.grad == 0).all()


@every_loss
def test_exactly_one_positive_and_one_negative_is_not_zero(loss):
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    each = with_reduction(loss, "none")(embeddings, torch.tensor([0, 0, 1]))
    assert (each[:2] > 0).all()
    assert each[2] == 0


@every_loss
def test_duplicates_and_zero_rows_are_finite(loss):
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    value = loss(embeddings, torch.tensor([0, 0, 1, 1, 0]))
    value.backward()
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_16_bit_embeddings_are_computed_and_returned_in_fp32(loss, dtype):
    embeddings, labels = batch(dtype=torch.float64)
    embeddings = embeddings.to(dtype).requires_grad_()
    value = loss(embeddings, labels)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    value.backward()
    assert embeddings.grad.dtype == dtype
    torch.testing.assert_close(value.double(), loss(embeddings.double(), labels), rtol=1e-4, atol=1e-4)


@every_loss
def test_autocast_does_not_reach_the_similarities(loss):
    embeddings, labels = batch(dtype=torch.float32)
    expected = loss(embeddings, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(embeddings, labels) == expected


@every_loss
def test_same_input_same_bits(loss):
    embeddings, labels = batch(dtype=torch.float32, num_classes=30)
    results = []
    for _ in range(2):
        leaf = embeddings.clone().requires_grad_()
        loss(leaf, labels).backward()
        results.append(leaf.grad)
    assert torch.equal(*results)


@every_loss
def test_positive_mask_stands_in_for_labels(loss):
    embeddings, labels = batch()
    mask = labels[:, None] == labels[None, :]
    assert loss(embeddings, positive_mask=mask) == loss(embeddings, labels)
    references, reference_labels = batch(seed=1)
    mask = labels[:, None] == reference_labels[None, :]
    expected = loss(embeddings, labels, references, reference_labels)
    assert loss(embeddings, None, references, positive_mask=mask) == expected


@every_loss
def test_joint_sources_are_their_concatenation(loss):
    embeddings, labels = batch()
    references, reference_labels = batch(seed=1)
    classes = circlet.ClassWeights(5, embeddings.shape[1]).double()
    expected = loss(
        embeddings,
        labels,
        torch.cat([classes.weight, references]),
        torch.cat([torch.arange(5), reference_labels]),
    )
    torch.testing.assert_close(loss(embeddings, labels, [classes, (references, reference_labels)]), expected)
    torch.testing.assert_close(
        loss(embeddings, labels, [references[:5], (references[5:], reference_labels[5:])]),
        loss(embeddings, labels, references, torch.cat([torch.arange(5), reference_labels[5:]])),
    )


@every_loss
def test_the_batch_can_be_one_of_the_sources(loss):
    embeddings, labels = batch()
    torch.testing.assert_close(loss(embeddings, labels, [None]), loss(embeddings, labels))
    classes = circlet.ClassWeights(5, embeddings.shape[1]).double()
    joint = with_reduction(loss, "none")(embeddings, labels, [classes, None])
    for i in range(len(labels)):
        rest = torch.arange(len(labels)) != i
        one = loss(
            embeddings[i : i + 1],
            labels[i : i + 1],
            torch.cat([classes.weight, embeddings[rest]]),
            torch.cat([torch.arange(5), labels[rest]]),
        )
        torch.testing.assert_close(one, joint[i])


@every_loss
def test_class_weights_receive_a_gradient(loss):
    embeddings, labels = batch(dtype=torch.float32)
    classes = circlet.ClassWeights(5, embeddings.shape[1])
    loss(embeddings, labels, classes).backward()
    assert classes.weight.grad.abs().sum() > 0
    assert loss(embeddings, labels, classes) == loss(embeddings, labels, classes.weight)


@pytest.mark.parametrize("name", all_losses())
def test_modules_and_functions_have_the_same_defaults(name):
    module = all_losses()[name]()
    if module.first_state:
        with pytest.raises(ValueError, match="keeps something from call to call"):
            getattr(F, f"{name}_loss")
        return
    function = getattr(F, f"{name}_loss")
    parameters = inspect.signature(function).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and key != "positive_mask"}
    assert defaults == {**module.hyper_parameters, "reduction": module.reduction}
    assert function.__doc__ == type(module).__doc__
    embeddings, labels = batch()
    assert module(embeddings, labels) == function(embeddings, labels)


def test_losses_print_their_settings_and_have_no_parameters():
    loss = circlet.CircleLoss(margin=0.4, gamma=80.0)
    assert repr(loss) == "CircleLoss(margin=0.4, gamma=80.0, reduction='mean')"
    assert not list(loss.parameters())
    assert circlet.CosFace is circlet.AMSoftmaxLoss


@pytest.mark.parametrize("gamma", [16.0, 256.0, 1024.0])
def test_converged_and_hopeless_losses_keep_their_value_in_fp32(gamma):
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    good = F.circle_loss(apart, labels, margin=0.25, gamma=gamma, reduction="none")
    exact = F.circle_loss(apart.double(), labels, margin=0.25, gamma=gamma, reduction="none")
    torch.testing.assert_close(good.double(), exact, rtol=1e-4, atol=1e-30)
    assert (good > 0).all() or gamma == 1024.0
    bad = F.circle_loss(apart[[0, 2, 1, 3]], labels, margin=0.25, gamma=gamma)
    assert bad.isfinite()
    assert bad > gamma


def test_per_anchor_losses_can_be_weighted():
    embeddings, labels = batch()
    weight = torch.rand(len(labels), dtype=torch.float64)
    loss = circlet.CircleLoss(reduction="none")
    embeddings.requires_grad_()
    (weight * loss(embeddings, labels)).sum().backward()
    assert embeddings.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("size", [6, 800])  # whole and in tiles
def test_joint_gradients_are_finite_for_anchors_without_any_positive(loss, size):
    embeddings = torch.randn(size, 8, requires_grad=True)
    labels = torch.arange(size) // 2
    labels[0] = 10_000  # no positive in the batch, and none in the references
    references = torch.randn(300, 8)
    loss(embeddings, labels, [None, (references, torch.full((300,), -1))]).backward()
    assert embeddings.grad.isfinite().all()
