"""Figures of each test class: means of them, weighted by queries, are those of the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from circlet.compare.classes import by_class, read_classes, write_classes
from circlet.data import ImageSet
from circlet.data.images import FileReader
from circlet.data.pixels import Pixels
from circlet.data.query_gallery import as_test_set
from circlet.evaluate import retrieval
from circlet.experiments.metrics import metrics_of
from circlet.models import Embedded
from circlet.recipes import RECIPES


def pixels(names):
    images = ImageSet.from_classes(names, [f"{i}.png" for i in range(len(names))], FileReader("nowhere", ()))
    return Pixels(images, None, None)


@pytest.fixture
def embedded():
    return torch.nn.functional.normalize(torch.randn(13, 4, generator=torch.Generator().manual_seed(0)), dim=1)


NAMES = ["a"] * 5 + ["b"] * 3 + ["c"] * 4 + ["lone"]


def test_means_over_classes_are_those_of_the_task(embedded):
    test_set, experiment = as_test_set(pixels(NAMES)), RECIPES["scratch"]()
    found = by_class(Embedded(embedded, None), test_set, experiment)
    assert {name: values["queries"] for name, values in found.items()} == {"a": 5, "b": 3, "c": 4}
    mean = np.average([v["map@r"] for v in found.values()], weights=[v["queries"] for v in found.values()])
    assert mean == pytest.approx(retrieval(embedded, test_set.query_labels).map_at_r)
    expanding = replace(experiment, test=replace(experiment.test, expand=2))
    more = by_class(Embedded(embedded, None), test_set, expanding)
    mean = np.average([v["map@r"] for v in more.values()], weights=[v["queries"] for v in more.values()])
    assert mean == pytest.approx(metrics_of(Embedded(embedded, None), test_set, expanding)["map@r"])


def test_queries_of_a_gallery_have_the_names_of_their_own_set(embedded):
    test_set = as_test_set(pixels(["b", "c", "b"]), pixels(["a", "b", "c", "c"]))
    found = by_class(Embedded(embedded[:3], embedded[3:7]), test_set, RECIPES["scratch"]())
    own = retrieval(embedded[1:2], [2], gallery=embedded[3:7], gallery_labels=[0, 1, 2, 2], ks=(1,))
    assert {name: values["queries"] for name, values in found.items()} == {"b": 2, "c": 1}
    assert found["c"]["map@r"] == pytest.approx(own.map_at_r)
    assert found["c"]["recall@1"] == own.recall_at_k[1]


def test_other_tasks_have_none(embedded, tmp_path):
    test_set, experiment = as_test_set(pixels(NAMES)), RECIPES["scratch"]()
    for other in (replace(experiment, task="reid"), replace(experiment, test=replace(experiment.test, draws=2))):
        assert by_class(Embedded(embedded, None), test_set, other) == {}
    write_classes(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    assert read_classes(tmp_path) == {}


def test_what_is_written_is_read(tmp_path):
    classes = {"é": {"map@r": 0.5, "recall@1": 1.0, "queries": 3}}
    write_classes(tmp_path, classes)
    assert read_classes(tmp_path) == classes
    assert read_classes(tmp_path, "frozen") == {}
    write_classes(tmp_path, classes, classes)
    assert read_classes(tmp_path, "frozen") == classes
