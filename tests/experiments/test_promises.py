"""What the thresholds of a run give on its test classes, and what of it is in result.json."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from circlet.data import FileReader, ImageSet, Splits
from circlet.data.pixels import Pixels
from circlet.data.query_gallery import TestSet
from circlet.evaluate import choose_thresholds, leave_one_class_out
from circlet.experiments import TestConfig
from circlet.experiments.held_out import HeldOut, chosen_thresholds, held_out_images, thresholds_of
from circlet.experiments.metrics import FNIR, measured, metrics_of, open_set_scores
from circlet.experiments.promises import OpenSetFound, metric_name, open_set_found, promise_sentence
from circlet.models import Embedded
from circlet.recipes import RECIPES
from circlet.similarity import unit_rows
from circlet.training import RunFolder

TestConfig.__test__ = False  # a name that pytest would collect
TestSet.__test__ = False
RETRIEVAL, REID = RECIPES["circle-cub"](), RECIPES["circle-r50-market"]()


def image_set(classes, cameras=None):
    return ImageSet.from_classes(classes, [f"{i}" for i in range(len(classes))], FileReader("", ()), cameras)


def a_test(images, gallery=None):
    sets = [Pixels(part, None, None, 0) if part else None for part in (images, gallery)]
    if gallery is None:
        return TestSet(*sets, torch.from_numpy(images.labels), None)
    return TestSet(*sets, *map(torch.from_numpy, Splits(images, images, gallery, closed_set=True).matching_labels()))


def rows_of(images, seed=0, dim=8, noise=0.7):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(images.num_classes, dim, generator=generator)
    return unit_rows(centres[images.labels] + noise * torch.randn(len(images), dim, generator=generator))


@pytest.fixture
def tested():
    """A test of 20 classes, and thresholds of others."""
    images = image_set([f"{i % 20}" for i in range(200)])
    others = image_set([f"{i % 15}" for i in range(150)])
    thresholds = choose_thresholds(rows_of(others, 1), others.labels, gallery_classes=19)
    return a_test(images), Embedded(rows_of(images), None), thresholds


def test_a_promise_is_what_the_threshold_gives_here(tested):
    test_set, embedded, thresholds = tested
    scores = open_set_scores(embedded, test_set, RETRIEVAL)
    found = open_set_found(scores, embedded, test_set, RETRIEVAL, thresholds)
    assert [(each.task, each.rate) for each in found.promises] == [
        ("identify", 0.1), ("identify", 0.01), ("verify", 1e-2), ("verify", 1e-3), ("verify", 1e-4)
    ]  # fmt: skip
    for each, threshold in zip(found.promises[:2], thresholds.identify, strict=True):
        at = scores.at(threshold.similarity)
        assert (each.similarity, each.accepted, each.baus) == (threshold.similarity, at.fpir, pytest.approx(at.baus))
        assert (each.missed, each.baks) == pytest.approx((at.fnir[1], at.baks))
        assert each.accepted_interval[0] <= each.accepted <= each.accepted_interval[1]
    similar = (embedded.query.double() @ embedded.query.double().T).numpy()
    same = test_set.query_labels[:, None].numpy() == test_set.query_labels.numpy()
    upper = np.triu(np.ones_like(same), 1)
    for each in found.promises[2:]:
        assert each.accepted == pytest.approx((similar[~same & upper] >= each.similarity).mean(), abs=1e-4)
        assert each.missed == pytest.approx((similar[same & upper] < each.similarity).mean(), abs=1e-3)
    assert found.metrics.keys() == found.intervals.keys() == {"auroc", "fnir@1e-1", "fnir@1e-2", "tar@1e-2", "tar@1e-3",
                                                              "tar@1e-4"}  # fmt: skip
    assert found.metrics["fnir@1e-2"] == metrics_of(embedded, test_set, RETRIEVAL)[FNIR]
    assert (found.gallery_classes, found.gallery_images, found.queries) == (19, 190, 200)
    assert "of 100" in promise_sentence(found.promises[1])
    assert "pairs of two classes are accepted as one" in promise_sentence(found.promises[2])


def test_it_is_what_it_was_after_a_file(tested):
    test_set, embedded, thresholds = tested
    scores = open_set_scores(embedded, test_set, RETRIEVAL)
    found = open_set_found(scores, embedded, test_set, RETRIEVAL, thresholds)
    content = json.loads(json.dumps(found.to_json()))
    assert OpenSetFound.from_json(content) == found
    content["promises"][0]["new"] = content["of a later version"] = 1
    assert OpenSetFound.from_json(content) == found
    content["intervals"]["auroc"] = [None, None]  # as JSON has what is not finite
    assert math.isnan(OpenSetFound.from_json(content).intervals["auroc"][0])
    del content["det"]
    with pytest.raises(ValueError, match=r"open_set\.det: found no such key"):
        OpenSetFound.from_json(content)
    content["promises"] = [{"task": 3}]
    with pytest.raises(ValueError, match=r"open_set\.promises\[0\]"):
        OpenSetFound.from_json(content)


def test_without_thresholds_there_are_figures_but_no_promises(tested):
    test_set, embedded, _ = tested
    found = open_set_found(open_set_scores(embedded, test_set, RETRIEVAL), embedded, test_set, RETRIEVAL, None)
    assert found.promises == ()
    assert "fnir@1e-2" in found.metrics


def test_one_class_has_no_unknown_ones():
    images = image_set(["a"] * 6)
    embedded = Embedded(rows_of(images), None)
    assert open_set_scores(embedded, a_test(images), RETRIEVAL) is None
    assert open_set_found(None, embedded, a_test(images), RETRIEVAL, None) is None
    found = measured(embedded, a_test(images), RETRIEVAL)
    assert FNIR not in found.metrics
    assert found.intervals() == {}


def test_small_tests_leave_out_what_they_cannot_tell():
    images = image_set([f"{i % 5}" for i in range(40)])
    found = measured(Embedded(rows_of(images), None), a_test(images), RETRIEVAL)
    assert FNIR not in found.metrics
    assert found.intervals().keys() == found.metrics.keys()


def test_persons_under_one_camera_are_passed_over():
    """As in re-identification; and junk is enrolled nowhere."""
    rng = np.random.default_rng(0)
    people = [f"{i % 6:04}" for i in range(60)]
    query = image_set(people[:18], rng.integers(1, 4, 18))
    gallery = image_set([*people, "-1", "-1"], rng.integers(1, 4, 62))
    embedded = Embedded(rows_of(query), rows_of(gallery, 2))
    found = open_set_scores(embedded, a_test(query, gallery), REID)
    similar = embedded.query.double() @ embedded.gallery.double().T
    names = [gallery.class_names[label] for label in gallery.labels]
    for i, (label, camera) in enumerate(zip(query.labels, query.cameras, strict=True)):
        name = query.class_names[label]
        own = [float(similar[i, j]) for j in range(62) if names[j] == name and gallery.cameras[j] != camera]
        other = [float(similar[i, j]) for j in range(62) if names[j] not in (name, "-1")]
        assert float(found.known_own[i]) == pytest.approx(max(own), abs=1e-6)
        assert float(found.unknown_best[i]) == pytest.approx(max(other), abs=1e-6)
    assert (found.gallery_classes, found.gallery_images) == (5, 50)


def test_of_too_many_pairs_a_sample_of_the_queries_is_taken(tested, monkeypatch):
    test_set, embedded, _ = tested
    whole = open_set_scores(embedded, test_set, RETRIEVAL)
    monkeypatch.setattr("circlet.experiments.metrics.MAX_PAIRS", 50 * 200)
    found = open_set_scores(embedded, test_set, RETRIEVAL)
    assert len(found.unknown_best) == 50
    kept = torch.isin(whole.known_own.float(), found.known_own.float())
    assert int(kept.sum()) >= 50  # each still searches all the others


def test_draws_and_expansion(tested):
    test_set, embedded, _ = tested
    drawn = measured(embedded, test_set, replace(RETRIEVAL, test=TestConfig(draws=3)))
    assert (drawn.open_set, drawn.intervals()) == (None, {})
    expanded = measured(embedded, test_set, replace(RETRIEVAL, test=TestConfig(expand=2)))
    assert expanded.metrics[FNIR] == measured(embedded, test_set, RETRIEVAL).metrics[FNIR]


# Where thresholds come from


def test_no_held_out_classes_no_thresholds(tested, tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    folder.write_json("thresholds.json", {})  # of an earlier, shorter run
    found = chosen_thresholds(None, tested[0], folder)
    assert found.thresholds is None
    assert found.told(None) == ("No thresholds: no training class was held out to choose them on, which "
                                "--data.validation-share 0.2 does.")  # fmt: skip
    assert thresholds_of(folder) is None


def test_held_out_classes_that_cannot_tell(tested, tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    held_out = held_out_images(torch.eye(3), image_set(["a", "a", "a"]))
    found = chosen_thresholds(held_out, tested[0], folder)
    assert found.thresholds is None
    assert found.sentence.startswith("No thresholds: 1 classes held out of the training do not do to choose them on")
    assert "\n" not in found.sentence


def test_they_are_chosen_for_as_many_as_the_test_enrols_and_kept(tested, tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    images = image_set([f"{i % 15}" for i in range(150)])
    found = chosen_thresholds(held_out_images(rows_of(images, 1), images), tested[0], folder)
    assert found.thresholds == tested[2] == thresholds_of(folder)
    assert json.loads((tmp_path / "run" / "thresholds.json").read_text())["chosen_on"] == (
        "15 classes held out of the training"
    )
    assert found.told("x.") == "Thresholds were chosen on 15 classes held out of the training. On the test classes: x."


def test_groups_of_held_out_images_are_passed_over(tested, tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    labels = torch.arange(60) % 6
    rows = unit_rows(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)))
    held_out = HeldOut(rows.repeat(2, 1), labels.repeat(2), torch.zeros(120).long(), torch.arange(60).repeat(2), "x")
    found = chosen_thresholds(held_out, tested[0], folder).thresholds
    alone = leave_one_class_out(rows, labels)
    assert found.identify[0].missed == pytest.approx(alone.at(found.identify[0].similarity).fnir[1])


@pytest.mark.parametrize(("rate", "name"), [(0.1, "x@1e-1"), (1e-4, "x@1e-4"), (0.05, "x@5e-2"), (1.0, "x@1e0")])
def test_names_of_rates(rate, name):
    assert metric_name("x", rate) == name
