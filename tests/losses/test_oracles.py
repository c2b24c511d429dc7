"""Losses after their published equations, one pair at a time in loops."""

import math

import pytest
import torch

import circlet
from tests.losses.cases import EVERY_LOSS, ONE_SIDED, batch, with_reduction

GENERATOR = torch.Generator().manual_seed(7)


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def assert_same(value, expected, leaves):
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    for leaf in leaves:
        grads = [torch.autograd.grad(of.sum(), leaf, retain_graph=True)[0] for of in (value, expected)]
        torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-10 * float(1 + grads[1].abs().max()))


def pair_level():
    embeddings, labels = batch(num_classes=4, per_class=4, spread=2.0)
    labels = labels.clone()
    labels[0] = 77  # a singleton
    return embeddings.requires_grad_(), labels


def class_level(scale=1.0):
    embeddings, labels = batch(num_classes=6, per_class=2, spread=1.5)
    weights = torch.randn(6, embeddings.shape[1], generator=GENERATOR, dtype=torch.float64)
    return (scale * embeddings).requires_grad_(), labels, weights.requires_grad_()


def of_pairs(embeddings, labels, of_anchor):
    """The loss `of_anchor(positives, negatives)` of lists of similarities, for each anchor that has both."""
    s = unit(embeddings) @ unit(embeddings).T
    losses = []
    for i in range(len(labels)):
        positives = [s[i, j] for j in range(len(labels)) if j != i and labels[j] == labels[i]]
        negatives = [s[i, j] for j in range(len(labels)) if labels[j] != labels[i]]
        losses.append(of_anchor(positives, negatives) if positives and negatives else 0.0 * s[i, i])
    return torch.stack(losses)


def cross_entropy(target, others):
    return torch.log(sum((torch.exp(other - target) for other in others), torch.ones(())))


def test_soft_margin_triplet():
    embeddings, labels = pair_level()
    expected = of_pairs(embeddings, labels, lambda p, n: torch.log(1 + torch.exp(max(n) - min(p))))
    assert_same(circlet.SoftMarginTripletLoss(reduction="none")(embeddings, labels), expected, [embeddings])


def test_semi_hard_triplet():
    embeddings, labels = pair_level()
    with torch.no_grad():
        embeddings[2] = -embeddings[1]
    labels[1:3] = 88  # positives that beat nothing

    def of_anchor(positives, negatives):
        terms = []
        for p in positives:
            below = [n for n in negatives if n < p]
            if below:
                terms.append(torch.clamp(max(below) - p + 0.3, min=0))
        return sum(terms) / len(terms) if terms else 0.0 * positives[0]

    expected = of_pairs(embeddings, labels, of_anchor)
    assert (expected == 0).sum() >= 3
    assert_same(circlet.SemiHardTripletLoss(margin=0.3, reduction="none")(embeddings, labels), expected, [embeddings])


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_sup_con_and_nt_xent(temperature):
    embeddings, labels = pair_level()

    def sup_con(positives, negatives):
        total = sum(torch.exp(s / temperature) for s in [*positives, *negatives])
        return sum(-torch.log(torch.exp(p / temperature) / total) for p in positives) / len(positives)

    def nt_xent(positives, negatives):
        scaled = [n / temperature for n in negatives]
        return sum(cross_entropy(p / temperature, scaled) for p in positives) / len(positives)

    for kind, of_anchor in ((circlet.SupConLoss, sup_con), (circlet.NTXentLoss, nt_xent)):
        value = kind(temperature=temperature, reduction="none")(embeddings, labels)
        assert_same(value, of_pairs(embeddings, labels, of_anchor), [embeddings])


def test_multi_label():
    embeddings, _, weights = class_level()
    mask = torch.rand(len(embeddings), 6, generator=GENERATOR) < 0.3
    mask[0], mask[1] = False, True  # no class, and every class
    s = unit(embeddings) @ unit(weights).T
    expected = torch.stack(
        [
            cross_entropy(0.0 * s[i, 0], [-16.0 * (s[i, c] - 0.2) for c in range(6) if mask[i, c]])
            + cross_entropy(0.0 * s[i, 0], [16.0 * (s[i, c] - 0.2) for c in range(6) if not mask[i, c]])
            for i in range(len(s))
        ]
    )
    settings = {"gamma": 16.0, "threshold": 0.2}
    value = circlet.MultiLabelLoss(**settings, reduction="none")(embeddings, None, weights, positive_mask=mask)
    assert_same(value, expected, [embeddings, weights])
    mean = circlet.MultiLabelLoss(**settings)(embeddings, None, weights, positive_mask=mask)
    assert_same(mean, expected.mean(), [embeddings, weights])


def test_adaface():
    loss = circlet.AdaFaceLoss(reduction="none").double()
    mean, std = 20.0, 100.0
    for scale in (1.0, 3.0, 40.0):  # the last beyond the bound of 100
        embeddings, labels, weights = class_level(scale)
        norms = embeddings.detach().norm(dim=1).clamp(0.001, 100)
        mean, std = 0.99 * mean + 0.01 * norms.mean(), 0.99 * std + 0.01 * norms.std()
        theta = torch.acos(unit(embeddings) @ unit(weights).T)
        losses = []
        for i, y in enumerate(labels):
            z = (0.333 * (norms[i] - mean) / (std + 1e-3)).clamp(-1, 1)
            target = torch.cos((theta[i, y] - 0.4 * z).clamp(0, math.pi)) - 0.4 * (1 + z)
            others = [64.0 * torch.cos(theta[i, c]) for c in range(6) if c != y]
            losses.append(cross_entropy(64.0 * target, others))
        assert_same(loss(embeddings, labels, weights), torch.stack(losses), [embeddings, weights])
        torch.testing.assert_close(loss.mean, mean)
        torch.testing.assert_close(loss.std, std)
    before = loss.eval().mean
    loss(embeddings, labels, weights)
    assert loss.mean is before


def test_adaface_holds_the_angle_within_0_and_pi():
    rule = circlet.losses.adaface.AdaptiveMargin(torch.tensor([[-0.4], [0.4]]), torch.zeros(2, 1), 1.0)
    s = torch.tensor([[0.99], [-0.99]], requires_grad=True)
    assert rule.positive(s).flatten().tolist() == [-1.0, 1.0]
    (grad,) = torch.autograd.grad(rule.positive(s).sum(), s)
    assert (grad == 0).all()


def test_magface():
    for scale in (2.0, 20.0, 60.0):  # also below l_a and above u_a
        embeddings, labels, weights = class_level(scale)
        theta = torch.acos(unit(embeddings) @ unit(weights).T)
        losses = []
        for i, y in enumerate(labels):
            a = embeddings[i].norm().clamp(10, 110)
            margin = 0.45 + (a - 10) / (110 - 10) * (0.8 - 0.45)
            target = torch.cos(theta[i, y] + margin)
            if theta[i, y] > math.pi - margin:
                target = torch.cos(theta[i, y]) - margin * torch.sin(margin)
            others = [64.0 * torch.cos(theta[i, c]) for c in range(6) if c != y]
            losses.append(cross_entropy(64.0 * target, others) + 20.0 * (1 / a + a / 110**2))
        value = circlet.MagFaceLoss(reduction="none")(embeddings, labels, weights)
        assert_same(value, torch.stack(losses), [embeddings, weights])
    with pytest.raises(ValueError, match=r"MagFaceLoss: l_a, u_a: found .* expected l_a below u_a"):
        circlet.MagFaceLoss(l_a=5.0, u_a=2.0)


def test_curricular_face():
    loss = circlet.CurricularFaceLoss(momentum=0.2, reduction="none").double()
    t, hard = 0.0, 0
    for _ in range(3):
        embeddings, labels, weights = class_level()
        s = unit(embeddings) @ unit(weights).T
        targets = s[torch.arange(len(s)), labels]
        t = 0.8 * t + 0.2 * targets.detach().mean()
        losses = []
        for i, y in enumerate(labels):
            assert torch.acos(s[i, y]) < math.pi - 0.5
            target, others = torch.cos(torch.acos(s[i, y]) + 0.5), []
            for c in range(6):
                if c != y:
                    is_hard = s[i, c] > target
                    others.append(64.0 * (s[i, c] * (t + s[i, c]) if is_hard else s[i, c]))
                    hard += int(is_hard)
            losses.append(cross_entropy(64.0 * target, others))
        assert_same(loss(embeddings, labels, weights), torch.stack(losses), [embeddings, weights])
        torch.testing.assert_close(loss.t, t)
    assert hard > 10


def test_a_state_keeps_away_from_nan_and_goes_into_checkpoints():
    for loss in (circlet.AdaFaceLoss(), circlet.CurricularFaceLoss()):
        before = {name: value.clone() for name, value in loss.state_dict().items()}
        assert {name: float(value) for name, value in before.items()} == pytest.approx(loss.first_state)
        with pytest.raises(ValueError, match="embeddings: found NaN"):
            loss(torch.full((2, 4), torch.nan), torch.tensor([0, 1]), torch.eye(4))
        assert loss.state_dict() == before
        with pytest.raises(ValueError, match="keeps something from call to call"):
            circlet.functional.function_of(type(loss))


def test_the_backward_pass_of_an_earlier_batch_sees_the_state_of_its_own():
    embeddings, labels, weights = class_level(30.0)
    for kind in (circlet.AdaFaceLoss, circlet.CurricularFaceLoss):
        loss = kind().double()
        first = loss(embeddings, labels, weights)
        (expected,) = torch.autograd.grad(first, embeddings, retain_graph=True)
        loss(3.0 * embeddings.detach(), labels, weights)
        assert torch.equal(torch.autograd.grad(first, embeddings)[0], expected)


@pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=EVERY_LOSS.keys())
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 2], [0], []], ids=str)
@pytest.mark.parametrize("references", ["batch", "classes", "none"])
def test_anchors_without_a_side_are_finite(loss, labels, references):
    labels = torch.tensor(labels, dtype=torch.int64)
    embeddings = torch.randn(len(labels), 8, generator=GENERATOR).requires_grad_()
    weights = torch.randn({"batch": 4, "classes": 4, "none": 0}[references], 8, generator=GENERATOR).requires_grad_()
    names = torch.tensor([0, 0, 1, 9])[: len(weights)]
    against = (None, None) if references == "batch" else (weights, names)
    for reduction in ("mean", "sum", "none"):
        value = with_reduction(loss, reduction)(embeddings, labels, *against).sum()
        if value.requires_grad:
            leaves = [embeddings, weights] if references != "batch" else [embeddings]
            grads = torch.autograd.grad(value, leaves, allow_unused=True)
            assert all(grad is None or grad.isfinite().all() for grad in grads)
        assert value.isfinite()


@pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=EVERY_LOSS.keys())
def test_nan_is_found_by_every_loss(loss):
    embeddings, labels = batch()
    embeddings[4, 2] = torch.nan
    with pytest.raises(ValueError, match="embeddings: found NaN or infinity in 1 of 15 rows"):
        loss(embeddings, labels)


@pytest.mark.parametrize("loss", ONE_SIDED.values(), ids=ONE_SIDED.keys())
def test_one_sided_losses_are_over_the_anchors_that_have_any_pair(loss):
    embeddings, labels = batch(num_classes=1, per_class=4)
    references = torch.cat([embeddings[:2], -embeddings[:1]])
    each = with_reduction(loss, "none")(embeddings, labels, references, torch.tensor([0, 0, 1]))
    assert each.shape == (4,)
    for kept in ([0, 1], [2]):  # positives alone, negatives alone
        alone = with_reduction(loss, "none")(embeddings, labels, references[kept], torch.tensor([0, 0, 1])[kept])
        mean = loss(embeddings, labels, references[kept], torch.tensor([0, 0, 1])[kept])
        torch.testing.assert_close(mean, alone.mean())
