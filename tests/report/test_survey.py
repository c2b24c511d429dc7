"""The survey of a test set and the curves from it, against brute force over all pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import retrieval
from circlet.evaluate.roc import tar_at_far
from circlet.report.curves import SHOWN_BINS, histogram, recall_curve, roc, tar_at
from circlet.report.survey import BINS, MAX_NEIGHBOURS, survey


def made(seed, n, m, classes, dim=6):
    rng = np.random.default_rng(seed)
    query = torch.from_numpy(rng.normal(size=(n, dim)))
    gallery = None if m is None else torch.from_numpy(rng.normal(size=(m, dim)))
    labels = torch.from_numpy(rng.integers(classes, size=n))
    return query, gallery, labels, labels if m is None else torch.from_numpy(rng.integers(classes, size=m))


def brute(query, gallery, labels, gallery_labels):
    """Similarity of all pairs, counted once, whether they are of one class, and the matrix with -inf for self."""
    items = query if gallery is None else gallery
    s = torch.nn.functional.normalize(query, dim=1) @ torch.nn.functional.normalize(items, dim=1).T
    same = labels[:, None] == gallery_labels
    pairs = torch.ones_like(same).triu(1) if gallery is None else torch.ones_like(same)
    ranked = s.clone().fill_diagonal_(-torch.inf) if gallery is None else s
    return s[pairs], same[pairs], ranked, same


SIZES = st.tuples(st.integers(0, 1000), st.integers(2, 40), st.one_of(st.none(), st.integers(1, 40)), st.integers(1, 6))


@settings(max_examples=40)
@given(SIZES, st.sampled_from([8, 16, 2048]))
def test_every_pair_is_counted_once(size, block_size):
    made_up = made(*size)
    found = survey(*made_up, block_size=block_size)
    s, same, ranked, _ = brute(*made_up)
    edges = np.linspace(-1, 1, BINS + 1)
    for counts, kind in ((found.within, same), (found.between, ~same)):
        expected = np.histogram(s[kind].numpy().clip(-1, 1), edges)[0]
        assert counts.sum() == kind.sum()
        # A similarity on the edge of a bin may fall on either side.
        assert np.abs(counts.cumsum(0).numpy() - expected.cumsum()).max(initial=0) <= 1
    assert found.queries.tolist() == list(range(len(made_up[0])))
    k = min(MAX_NEIGHBOURS, ranked.shape[1] - (made_up[1] is None))
    expected_values = ranked.sort(dim=1, descending=True).values[:, :k]
    torch.testing.assert_close(found.values, expected_values)
    torch.testing.assert_close(ranked.gather(1, found.indices), found.values)


@settings(max_examples=30)
@given(SIZES)
def test_hits_and_matches(size):
    query, gallery, labels, gallery_labels = made(*size)
    found = survey(query, gallery, labels, gallery_labels)
    for i, own in enumerate(labels.tolist()):
        assert found.hits[i].tolist() == [gallery_labels[j] == own for j in found.indices[i]]
        others = [label for j, label in enumerate(gallery_labels.tolist()) if gallery is not None or j != i]
        assert found.matched[i] == (own in others)


def test_curve_is_that_of_the_retrieval_metrics():
    query, _, labels, _ = made(3, 60, None, 8)
    curve = recall_curve(survey(query, None, labels, labels).hits)
    ks = range(1, 60)
    assert dict(zip(ks, curve, strict=True)) == pytest.approx(retrieval(query, labels, ks=ks).recall_at_k)


def test_ties_rank_as_in_the_retrieval_metrics():
    """A collapsed embedding is no better than its order."""
    query, labels = torch.ones(40, 4), torch.arange(40) // 2 % 10
    curve = recall_curve(survey(query, None, labels, labels).hits)
    assert curve[:8] == pytest.approx(list(retrieval(query, labels, ks=range(1, 9)).recall_at_k.values()))


@pytest.mark.parametrize("gallery", [None, 50])
def test_beyond_the_limit_a_sample_of_the_queries_meets_everything(gallery):
    made_up = made(5, 60, gallery, 7)
    found = survey(*made_up, max_pairs=600, block_size=16)
    num_items = gallery or 60
    assert len(found.queries) == 600 // num_items
    assert len(found.queries.unique()) == len(found.queries)
    candidates = num_items - (gallery is None)
    assert found.within.sum() + found.between.sum() == len(found.queries) * candidates
    _, _, ranked, same = brute(*made_up)
    chosen = ranked[found.queries]
    torch.testing.assert_close(found.values, chosen.sort(dim=1, descending=True).values[:, :candidates])
    own = chosen[same[found.queries] & chosen.isfinite()]
    assert found.within.sum() == len(own)
    assert torch.equal(survey(*made_up, max_pairs=600).queries, found.queries)


@settings(max_examples=40)
@given(SIZES, st.sampled_from([1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0]))
def test_tar_is_that_of_the_evaluation(size, far):
    """On similarities rounded down to the bins, which changes nothing about the ROC at their edges."""
    found = survey(*made(*size))
    curve = roc(found.within, found.between)
    if curve is None:
        assert not (found.within.any() and found.between.any())
        return
    bins = torch.arange(BINS)
    scores = torch.cat([bins.repeat_interleave(found.within), bins.repeat_interleave(found.between)]).double()
    same = torch.arange(len(scores)) < found.within.sum()
    assert tar_at(curve, far) == pytest.approx(tar_at_far(scores, same, [far], "at_most")[far])


def test_histogram_is_in_percent_of_each_kind():
    query, _, labels, _ = made(1, 50, None, 5)
    found = survey(query, None, labels, labels)
    s, same, _, _ = brute(query, None, labels, labels)
    shown = histogram(found.within, found.between)
    for shares, kind in ((shown.within, same), (shown.between, ~same)):
        expected = np.histogram(s[kind].numpy(), np.linspace(-1, 1, SHOWN_BINS + 1))[0]
        np.testing.assert_allclose(shares, 100 * expected / expected.sum(), atol=100 / len(s))
        assert shares.sum() == pytest.approx(100)
    np.testing.assert_allclose(shown.similarity[:2], [-0.99, -0.97])


def test_degenerate_sets():
    ones = torch.ones(4, 3)
    alone = survey(ones, None, torch.arange(4), torch.arange(4))
    assert (int(alone.within.sum()), int(alone.between.sum())) == (0, 6)
    assert alone.between[-1] == 6  # rounding does not lift a similarity out of the last bin
    assert roc(alone.within, alone.between) is None
    assert not alone.matched.any()
    assert histogram(alone.within, alone.between).within.sum() == 0
    opposite = survey(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), None, torch.zeros(2).long(), torch.zeros(2).long())
    assert opposite.within[0] == 1
    assert recall_curve(opposite.hits).tolist() == [1.0]
