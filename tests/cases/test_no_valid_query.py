"""A test without any query that could find something is an error before the training, and in Python too."""

import numpy as np
import pytest
import torch

from circlet.data import DataError, FileReader, ImageSet, Splits
from circlet.evaluate import identification, reid, retrieval, template_verification, verification
from circlet.evaluate.tasks import retrieval_metrics_over_draws
from circlet.experiments import check_task
from circlet.experiments.loading import load_run_data
from circlet.recipes import glyphs


def images(classes, cameras=None, groups=None):
    names = [f"{classes}-{i}.png" for i in range(len(classes))]
    return ImageSet.from_classes(list(classes), names, FileReader("nowhere", tuple(names)), cameras, groups=groups)


TRAIN = images("xxyy", cameras=[1, 2, 1, 2])


def test_reid_with_one_camera():
    splits = Splits(TRAIN, images("ab", [1, 1]), images("aabb", [1, 1, 1, 1]))
    with pytest.raises(DataError, match=r"task reid: found no query \(2\) .* another camera .* \(1 camera in all\)"):
        check_task("reid", splits)
    check_task("retrieval", splits)


def test_reid_with_each_identity_under_one_camera_of_its_own():
    splits = Splits(TRAIN, images("ab", [1, 2]), images("aabb", [1, 1, 2, 2]))
    with pytest.raises(DataError, match=r"task reid: found no query .*\(2 cameras in all\), expected at least one"):
        check_task("reid", splits)
    check_task("reid", Splits(TRAIN, images("ab", [1, 2]), images("aabb", [1, 2, 2, 2])))


def test_reid_where_only_junk_is_under_another_camera():
    junk = ImageSet.from_classes(["-1", "a"], ["j", "a"], FileReader("nowhere", ("j", "a")), [2, 1])
    with pytest.raises(DataError, match=r"among the 1 it searches"):
        check_task("reid", Splits(TRAIN, images("a", [1]), junk))


def test_reid_without_cameras():
    with pytest.raises(DataError, match="task reid: found images without cameras"):
        check_task("reid", Splits(TRAIN, images("aabb")))


@pytest.mark.parametrize("task", ["retrieval", "face"])
def test_test_classes_of_one_image_each(task):
    with pytest.raises(DataError, match=r"found 3 test images of 3 classes and no query .* one class of two images$"):
        check_task(task, Splits(TRAIN, images("abc")))
    check_task(task, Splits(TRAIN, images("abcc")))


def test_test_classes_of_one_group_each():
    with pytest.raises(DataError, match="expected at least one class of two images of two groups"):
        check_task("retrieval", Splits(TRAIN, images("aabb", groups=[0, 0, 1, 1])))
    check_task("retrieval", Splits(TRAIN, images("aabb", groups=[0, 0, 1, 2])))


def test_query_and_gallery_without_a_common_class():
    with pytest.raises(
        DataError, match=r"found no class in both query \(2 classes: 'a', 'b'\) and gallery \(the class"
    ):
        check_task("retrieval", Splits(TRAIN, images("ab"), images("cc")))


def test_a_gallery_that_holds_nothing_but_the_queries_themselves():
    splits = Splits(TRAIN, images("ab", groups=[0, 1]), images("ab", groups=[0, 1]))
    with pytest.raises(DataError, match="found no image in the gallery that a query could find but its own file"):
        check_task("retrieval", splits)


def test_validation_classes_of_one_image_each():
    experiment = glyphs()
    splits = Splits(images("abcdef"), images("xx"))
    with pytest.raises(DataError, match=r"data.validation_share: found 3 classes held out of the training, none with"):
        load_run_data(type(experiment.data)(validation_share=0.5), splits)


ROWS = torch.eye(4)
SAME = [True, True]


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: retrieval(ROWS, [0, 1, 2, 3], ks=(1,)), "labels: found 4 queries without any match"),
        (
            lambda: reid(ROWS, [0, 0, 1, 1], [5] * 4, ROWS, [0, 0, 1, 1], [5] * 4),
            r"found 4 queries \(1 cameras in all\)",
        ),
        (lambda: verification(ROWS, SAME, folds=2), "is_same: found no different pair in fold 0"),
        (
            lambda: template_verification(ROWS, [0, 1, 2, 3], [0] * 4, [[0, 1], [2, 3]], SAME),
            "is_same: found 2 of 2 pairs the same, expected pairs of both kinds",
        ),
        (lambda: identification(ROWS, [0, 1, 2, 3], ROWS, ranks=(1,)), "probe_ids: found 4 ids of one probe each"),
        (
            lambda: retrieval_metrics_over_draws(ROWS, torch.arange(4), draws=2, seed=0, ks=(1,)),
            "labels: found 4 images of as many classes",
        ),
    ],
)
def test_measures_in_python_with_nothing_to_measure(measure, message):
    with pytest.raises(ValueError, match=message):
        measure()


def test_random_labels_agree_with_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(200):
        query, gallery = (
            images([f"{i}" for i in rng.integers(0, 4, n)], cameras=rng.integers(0, 2, n))
            for n in rng.integers(1, 4, 2)
        )
        splits = Splits(TRAIN, query, gallery)
        labels, gallery_labels = splits.matching_labels()
        pairs = [(q, g) for q in range(len(query)) for g in range(len(gallery)) if labels[q] == gallery_labels[g]]
        expected = {
            "retrieval": bool(pairs),
            "reid": any(query.cameras[q] != gallery.cameras[g] for q, g in pairs),
        }
        for task, is_valid in expected.items():
            try:
                check_task(task, splits)
                assert is_valid
            except DataError:
                assert not is_valid
