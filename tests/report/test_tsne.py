"""t-SNE: the wanted perplexity, its gradient by autograd, and maps as good as scikit-learn's."""

import math

import pytest
import torch

from circlet.report.tsne import _gradient, neighbour_shares, squared_distances, tsne


def divergence(alike, places):
    """Kullback-Leibler, pair by pair, as the paper has it."""
    near = 1 / (1 + (places[:, None] - places).square().sum(2))
    near = near * (1 - torch.eye(len(near)))
    q = near / near.sum()
    kept = alike > 0
    return (alike[kept] * (alike[kept] / q[kept]).log()).sum()


def scattered(number=60, classes=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % classes
    rows = torch.randn(classes, 16, generator=generator)[labels] + 0.4 * torch.randn(number, 16, generator=generator)
    return torch.nn.functional.normalize(rows), labels


def shares_of(rows, perplexity):
    return neighbour_shares(squared_distances(rows, rows), perplexity)


@pytest.mark.parametrize("perplexity", [2.0, 7.5, 19.0])
def test_each_point_has_the_wanted_number_of_neighbours(perplexity):
    shares = shares_of(scattered()[0], perplexity)
    assert torch.equal(shares.diagonal(), torch.zeros(60))
    torch.testing.assert_close(shares.sum(1), torch.ones(60))
    entropy = -(shares * (shares + 1e-30).log()).sum(1)
    torch.testing.assert_close(entropy.exp(), torch.full((60,), perplexity), rtol=1e-3, atol=0)


def test_equal_points_have_neighbours_too():
    rows = torch.cat([torch.zeros(5, 3), torch.ones(4, 3)])
    shares = shares_of(rows, 2.0)
    assert torch.isfinite(shares).all()
    torch.testing.assert_close(shares[:5, :5].sum(1), torch.ones(5))
    assert torch.isfinite(tsne(rows)).all()
    assert torch.isfinite(tsne(torch.ones(6, 2))).all()


@pytest.mark.parametrize("number", [5, 60, 300])  # 300: more than one block of rows
def test_gradient_is_that_of_the_divergence(number):
    shares = shares_of(scattered(number)[0], min(5.0, (number - 1) / 3))
    alike = (shares + shares.T) / (2 * number)
    places = torch.randn(number, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (expected,) = torch.autograd.grad(divergence(alike, places), places)
    torch.testing.assert_close(_gradient(alike, places.detach(), 1.0), expected, rtol=1e-3, atol=1e-6)


def test_maps_are_as_good_as_those_of_scikit_learn():
    manifold = pytest.importorskip("sklearn.manifold")
    rows, labels = scattered(120)
    places = tsne(rows, perplexity=15.0)
    assert torch.equal(places, tsne(rows, perplexity=15.0))
    nearest = torch.cdist(places, places).fill_diagonal_(math.inf).argmin(1)
    assert torch.equal(labels[nearest], labels)
    alike = shares_of(rows, 15.0)
    alike = (alike + alike.T) / 240
    other = manifold.TSNE(perplexity=15.0, init="random", max_iter=500, random_state=0, method="exact")
    theirs = divergence(alike, torch.from_numpy(other.fit_transform(rows.numpy())))
    assert divergence(alike, places) < theirs + 0.05
