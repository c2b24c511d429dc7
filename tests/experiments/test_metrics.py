"""Metrics by task: what is passed to the evaluations, and what they are called."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from circlet.data import DataError, FileReader, ImageSet, Splits
from circlet.data.pixels import Pixels
from circlet.data.query_gallery import TestSet
from circlet.evaluate import expand_queries, reid, reid_from_distances, rerank, retrieval
from circlet.experiments import TestConfig
from circlet.experiments.metrics import metrics_of
from circlet.models import Embedded
from circlet.recipes import RECIPES

TestConfig.__test__ = False  # a name that pytest would collect
TestSet.__test__ = False
REID = RECIPES["circle-r50-market"]()
RETRIEVAL = RECIPES["circle-cub"]()


def image_set(classes, cameras=None):
    return ImageSet.from_classes(classes, [f"{i}" for i in range(len(classes))], FileReader("", ()), cameras)


def as_test_set(query, gallery):
    sets = [Pixels(images, None, None, 0) if images else None for images in (query, gallery)]
    if gallery is None:
        return TestSet(*sets, torch.from_numpy(query.labels), None)
    labels = Splits(query, query, gallery, closed_set=True).matching_labels()
    return TestSet(*sets, *map(torch.from_numpy, labels))


@pytest.fixture
def market():
    """Queries and a gallery with junk and distractors, seen by three cameras, and their embeddings."""
    rng = np.random.default_rng(0)
    query = image_set(["0002", "0004", "0006", "0002"], [1, 2, 3, 3])
    people = ["-1", "0000", "0002", "0004", "0006"] * 6
    gallery = image_set(people, rng.integers(1, 4, len(people)))
    rows = [torch.from_numpy(rng.normal(size=(len(s), 5))).float() for s in (query, gallery)]
    return query, gallery, Embedded(*rows)


@pytest.mark.parametrize("convention", ["step", "trapezoid"])
@pytest.mark.parametrize("reranked", [False, True])
def test_reid_is_that_of_evaluate_with_the_ids_of_the_data(market, convention, reranked):
    query, gallery, embedded = market
    config = TestConfig(average_precision=convention, rerank=reranked)
    found = metrics_of(embedded, as_test_set(query, gallery), replace(REID, test=config))
    who = query.ids(), query.cameras
    if reranked:  # junk is nobody's neighbour
        kept = gallery.ids() != -1
        distances = rerank(embedded.query, embedded.gallery[torch.from_numpy(kept)], k1=20)
        expected = reid_from_distances(
            distances, *who, gallery.ids()[kept], gallery.cameras[kept], average_precision=convention
        )
    else:
        expected = reid(
            embedded.query, *who, embedded.gallery, gallery.ids(), gallery.cameras, average_precision=convention
        )
    name = "mAP" if convention == "step" else "mAP (trapezoid)"
    assert list(found) == ["rank-1", "rank-5", "rank-10", name, "mINP"]
    assert found[name] == expected.map
    assert found["mINP"] == expected.minp
    assert found["rank-5"] == expected.cmc[4]


def test_reid_without_a_gallery_searches_the_queries(market):
    """As in a search of settings on held-out training classes."""
    _, images, embedded = market
    people = images.subset(np.flatnonzero(images.labels > 1))  # neither junk nor distractors
    rows = embedded.gallery[torch.from_numpy(images.labels > 1)]
    found = metrics_of(Embedded(rows, None), as_test_set(people, None), REID)
    expected = reid(rows, people.labels, people.cameras, rows, people.labels, people.cameras)
    assert (found["mAP"], found["rank-1"]) == (expected.map, expected.cmc[0])


def test_reid_needs_cameras(market):
    query, gallery, embedded = market
    with pytest.raises(DataError, match="task reid: found images without cameras"):
        metrics_of(embedded, as_test_set(replace(query, cameras=None), gallery), REID)


def test_recall_at_more_than_there_is_is_left_out():
    images = image_set(["a", "a", "b", "b"])
    rows = torch.randn(4, 3)
    found = metrics_of(Embedded(rows, None), as_test_set(images, None), replace(RETRIEVAL, ks=(1, 3, 4, 1000)))
    assert list(found) == ["recall@1", "recall@3", "r_precision", "map@r", "mrr"]


def test_expansion_moves_the_queries_and_without_a_gallery_all_images(market):
    query, gallery, embedded = market
    both = as_test_set(query, gallery)
    moved = replace(RETRIEVAL, test=TestConfig(expand=2))
    expanded = expand_queries(embedded.query, embedded.gallery, k=2)
    labels = both.query_labels, both.gallery_labels
    expected = retrieval(expanded, labels[0], ks=(1,), gallery=embedded.gallery, gallery_labels=labels[1])
    assert metrics_of(embedded, both, moved)["map@r"] == expected.map_at_r

    rows = embedded.gallery
    every = expand_queries(rows, rows, k=3)  # an image and its two nearest
    alone = metrics_of(Embedded(rows, None), as_test_set(gallery, None), moved)
    assert alone["map@r"] == retrieval(every, gallery.labels, ks=(1,)).map_at_r


def test_draws_are_means_over_galleries_of_one_image_a_class():
    """Against a plain loop: every image of a class that was not drawn looks for the one that was."""
    rng = np.random.default_rng(1)
    labels = np.array([0, 1, 2] * 5)
    images = image_set([f"{label}" for label in labels])
    rows = torch.from_numpy(rng.normal(size=(15, 4))).float() + torch.from_numpy(np.eye(4)[labels]).float()
    parts = images.subset(np.arange(3, 15)), images.subset(np.arange(3))  # whatever the data's own gallery is
    config = replace(RETRIEVAL, test=TestConfig(draws=40), ks=(1,))
    found = metrics_of(Embedded(rows[3:], rows[:3]), as_test_set(*parts), config)

    unit = torch.nn.functional.normalize(rows, dim=1).numpy()
    hits = []  # expectation over all 125 galleries
    for first in range(0, 15, 3):
        for second in range(1, 15, 3):
            for third in range(2, 15, 3):
                gallery = [first, second, third]
                queries = [i for i in range(15) if i not in gallery]
                nearest = (unit[queries] @ unit[gallery].T).argmax(1)
                hits.append((nearest == labels[queries]).mean())
    assert abs(found["recall@1"] - np.mean(hits)) < 4 * np.std(hits) / np.sqrt(40)
    again = metrics_of(Embedded(rows[3:], rows[:3]), as_test_set(*parts), config)
    assert again == found
    one = metrics_of(Embedded(rows[3:], rows[:3]), as_test_set(*parts), replace(config, test=TestConfig(draws=1)))
    assert one != found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"expand": -1}, "test.expand: found -1, expected 0 or more"),
        ({"draws": -2}, "test.draws: found -2, expected 0 or more"),
    ],
)
def test_bad_test_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TestConfig(**settings)


def test_reranking_is_for_re_identification():
    with pytest.raises(ValueError, match=r"test\.rerank: found with task retrieval, expected task reid"):
        replace(RETRIEVAL, test=TestConfig(rerank=True))
