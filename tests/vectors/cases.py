"""What the tests of the stores share: rows, and the definition of a search."""

import numpy as np

from circlet.vectors import Item

AXES = np.eye(4, dtype=np.float32)


def unit(seed, count, dim=4):
    """Rows of length 1, drawn."""
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def items_of(*names, label="cat"):
    return [Item(name, label, "00ff") for name in names]


def oracle(contents, queries, k):
    """(similarity, names) by definition: contents is a list of (item, row) in order of addition."""
    results = []
    for query in queries.astype(np.float64):
        scores = [np.float32(row.astype(np.float64) @ query) for _, row in contents]
        order = sorted(range(len(contents)), key=lambda i: (-scores[i], i))[:k]
        results.append(([scores[i] for i in order], [contents[i][0].name for i in order]))
    return results


def assert_finds(store, contents, queries, k):
    """Searching the store gives what the definition gives."""
    hits = store.search(queries, k)
    assert hits.similarity.shape == (len(queries), k)
    for similarity, items, (scores, names) in zip(
        hits.similarity, hits.items, oracle(contents, queries, k), strict=True
    ):
        assert [item.name for item in items] == names
        np.testing.assert_allclose(similarity[: len(scores)], scores, atol=1e-6)
        assert np.isneginf(similarity[len(scores) :]).all()
