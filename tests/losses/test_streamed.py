"""Losses that tiles can carry: in tiles, as a whole and by the readable definition they are the same."""

import pytest
import torch

import circlet
from circlet import similarity
from circlet.losses.statistics import Meeting, anchor_loss
from circlet.similarity import Pairs, dense, masks
from tests.losses.cases import EVERY_LOSS, batch, with_reduction

STREAMED = {name: loss for name, loss in EVERY_LOSS.items() if loss.form().is_streamed}


@pytest.mark.parametrize("loss", STREAMED.values(), ids=STREAMED.keys())
@pytest.mark.parametrize("references", ["batch", "classes"])
def test_tiles_equal_the_definition(loss, references, monkeypatch):
    embeddings, labels = batch(num_classes=20, per_class=4)
    weights = torch.randn(20, embeddings.shape[1], dtype=torch.float64)
    labels = labels.clone()
    labels[0] = 19 if references == "classes" else 99
    leaves = [embeddings.requires_grad_(), *([weights.requires_grad_()] if references == "classes" else [])]
    values = [by_definition(loss.form(), Pairs(embeddings, *pairs_of(labels, leaves[1:])))]
    for whole_pairs in (similarity.WHOLE_PAIRS, 0):
        monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
        values.append(with_reduction(loss, "none")(embeddings, labels, *leaves[1:]))
    grads = [torch.autograd.grad((value * torch.arange(len(value))).sum(), leaves) for value in values]
    for value, grad in zip(values[1:], grads[1:], strict=True):
        torch.testing.assert_close(value, values[0], rtol=1e-9, atol=1e-10)
        for found, expected in zip(grad, grads[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9 * float(1 + expected.abs().max()))


def pairs_of(labels, weights):
    return (weights[0], labels, torch.arange(20)) if weights else (None, labels, None)


def by_definition(form, pairs):
    if form.anchors == "references":
        pairs = pairs.swapped()
    s = dense.similarities(pairs.anchors, pairs.references, normalize=form.normalize)
    found = anchor_loss(form, Meeting(s, *masks(pairs), s.new_ones(len(s), 1), None))
    valid = {
        "both": found.has_positive & found.has_negative,
        "either": found.has_positive | found.has_negative,
    }
    if form.average == "sides":
        pos, neg = (torch.where(has, side, 0.0) for has, side in zip(found[3:], found[1:3], strict=True))
        return pos + neg
    return torch.where(valid[form.average], found.loss, 0.0)


def test_batches_beyond_one_matrix():
    """1,100 samples are more than one matrix is for, so that these go in tiles by themselves, in fp32."""
    embeddings, labels = batch(num_classes=275, per_class=4, dtype=torch.float32)
    assert len(labels) ** 2 > similarity.WHOLE_PAIRS
    for name in ("nca", "proxy_anchor", "soft_margin_triplet"):
        leaf = embeddings.clone().requires_grad_()
        loss = EVERY_LOSS[name]
        weights = circlet.ClassWeights(275, embeddings.shape[1])
        value = loss(leaf, labels, weights if loss.level == "class" else None)
        exact = loss(leaf.double(), labels, weights.weight.double() if loss.level == "class" else None)
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
