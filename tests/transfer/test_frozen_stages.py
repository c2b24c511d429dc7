"""The stages on frozen features: what is kept, why, and what is then fitted to all classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from circlet import transfer
from circlet.data import FileReader, ImageSet
from circlet.losses import CircleLoss
from circlet.training import Objective
from circlet.training.image_batches import BatchConfig
from circlet.transfer import (
    Fitting,
    HeadConfig,
    TransferConfig,
    WithinClasses,
    judge,
    unchanged,
)
from circlet.transfer.frozen_stages import CLOSED_FORM, HEAD, LEAST_CLASSES, _folds

DIM = 8


def judge_stages(images, features, fitting):
    """Of one look at each image."""
    return transfer.judge_stages(images, features[None], fitting)


def fit_kept(judgement, images, features, fitting, **others):
    return transfer.fit_kept(judgement, images, features[None], fitting, **others)


def images_of(labels, groups=None):
    names = [str(i) for i in range(len(labels))]
    images = ImageSet.from_classes([f"{c:03}" for c in labels], names, FileReader("photos", ()))
    return images if groups is None else replace(images, groups=np.asarray(groups))


def a_set(seed=0, num_classes=24, images=6, nuisance=6.0):
    """Classes in a few directions, and in the others something strong that has nothing to do with them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes * images) // images
    features = torch.randn(num_classes, DIM, generator=generator)[labels]
    noise = 0.3 * torch.randn(len(labels), DIM, generator=generator)
    noise[:, :2] *= nuisance / 0.3
    return images_of(labels.tolist()), features + noise


def a_fitting(*stages, dim=None, steps=10, seed=0, **settings):
    config = TransferConfig(stages or ("closed_form", "head"), head=HeadConfig(steps, 1e-3), **settings)

    def objective(num_classes, size):
        return Objective(CircleLoss(margin=0.4, gamma=32.0), "pair", num_classes, size)

    return Fitting(config, BatchConfig(classes=4, samples=3), objective, dim, seed)


def test_whitening_is_kept_where_it_helps_and_only_then():
    images, features = a_set()
    found = judge_stages(images, features, a_fitting())
    assert CLOSED_FORM in found.kept
    assert found.shrinkage in (0.1, 0.3, 1.0)
    assert found.verdict.better
    assert found.stages[0].validation["map@r"] > found.frozen["map@r"] + 0.1
    round_noise = a_set(nuisance=0.3)
    without = judge_stages(*round_noise, a_fitting("closed_form"))
    assert without.kept == []
    assert (without.shrinkage, without.verdict) == (None, None)
    assert without.frozen is not None


def test_what_is_held_out_is_judged_by_what_the_others_gave():
    """The closed form's figures, worked out here from the folds."""
    images, features = a_set()
    fitting = a_fitting("closed_form", shrinkages=(0.3,))
    (stage,) = judge_stages(images, features, fitting).stages
    values = []
    for fold in _folds(images, features[None], 3, fitting.seed):
        whitening = WithinClasses(fold.looks[0], fold.labels).whitening(0.3)
        values.append(judge(whitening(fold.held_out), fold.held_out_labels).map_at_r)
    assert stage.validation["map@r"] == pytest.approx(float(torch.cat(values).mean()))
    assert stage.settings == {"shrinkage": 0.3}


def test_noise_is_seldom_taken_for_a_gain():
    kept = 0
    for seed in range(40):
        labels = torch.arange(72) // 6
        features = torch.randn(72, DIM, generator=torch.Generator().manual_seed(seed))
        kept += bool(judge_stages(images_of(labels.tolist()), features, a_fitting("closed_form")).kept)
    assert kept <= 6  # one in forty by the interval; a few more, as the best of three is taken, on twelve classes


def test_a_head_that_is_worse_is_left_out():
    images, features = a_set()
    fitting = a_fitting(steps=20)
    wild = replace(fitting, config=replace(fitting.config, head=HeadConfig(20, 1e6)))
    found = judge_stages(images, features, wild)
    assert found.kept == [CLOSED_FORM]
    closed = judge_stages(images, features, a_fitting("closed_form"))
    assert found.verdict == closed.verdict
    heads = [fit_kept(judgement, images, features, wild).head for judgement in (found, closed)]
    assert torch.equal(heads[0].weight, heads[1].weight)


@pytest.mark.parametrize("stages", [("closed_form",), ("head",), ("closed_form", "head"), ("network",)])
def test_only_what_is_asked_for_is_tried(stages):
    found = judge_stages(*a_set(), a_fitting(*stages))
    names = {"closed_form": CLOSED_FORM, "head": HEAD}
    assert [stage.name for stage in found.stages] == [names[stage] for stage in stages if stage in names]
    assert judge_stages(*a_set(), a_fitting("head", steps=0)).stages == []


@pytest.mark.parametrize("seed", [0, 1])
def test_a_judgement_is_a_function_of_the_seed(seed):
    images, features = a_set()
    one, other = (judge_stages(images, features, a_fitting(seed=seed)) for _ in range(2))
    assert [stage._replace(seconds=0) for stage in one.stages] == [stage._replace(seconds=0) for stage in other.stages]
    heads = [fit_kept(found, images, features, a_fitting(seed=seed)).head for found in (one, other)]
    assert torch.equal(heads[0].weight, heads[1].weight)


def test_what_is_kept_is_fitted_to_all_classes():
    images, features = a_set()
    fitting = a_fitting("closed_form")
    found = judge_stages(images, features, fitting)
    head = fit_kept(found, images, features, fitting).head
    expected = WithinClasses(features, torch.from_numpy(images.labels)).whitening(found.shrinkage)
    assert torch.equal(head.weight, expected.weight)
    nothing = found._replace(stages=[], shrinkage=None, verdict=None)
    assert torch.equal(fit_kept(nothing, images, features, fitting).head.weight, unchanged(DIM).weight)
    shorter = fit_kept(found, images, features, a_fitting("closed_form", dim=3)).head
    assert shorter.weight.shape == (3, DIM)


@pytest.mark.parametrize("num_classes", [1, 2, 7])
def test_too_few_classes_judge_nothing(num_classes):
    images, features = a_set(num_classes=num_classes)
    found = judge_stages(images, features, a_fitting())
    assert found[:4] == (None, [], None, None)
    ((rows, head),) = found.unseen  # a frozen network has seen no class
    assert rows == list(range(len(images)))
    assert torch.equal(head.weight, torch.eye(DIM))


def test_no_two_images_of_a_class_judge_nothing():
    labels = list(range(20))
    assert judge_stages(images_of(labels), torch.randn(20, DIM), a_fitting())[:4] == (None, [], None, None)
    labels = [*range(20), 0]  # one pair: no fold can both learn from it and be judged by it
    assert judge_stages(images_of(labels), torch.randn(21, DIM), a_fitting())[:4] == (None, [], None, None)


@pytest.mark.parametrize("stages", [("closed_form",), ("closed_form", "head")])
def test_each_class_is_once_embedded_by_a_head_that_has_not_seen_it(stages):
    """To choose thresholds on: the heads of the folds, of what is kept."""
    images, features = a_set()
    fitting = a_fitting(*stages)
    found = judge_stages(images, features, fitting)
    assert sorted(row for part in found.unseen for row in part.rows) == list(range(len(images)))
    for fold, part in zip(_folds(images, features[None], 3, fitting.seed), found.unseen, strict=True):
        head = WithinClasses(fold.looks[0], fold.labels).whitening(found.shrinkage)
        if HEAD in found.kept:
            head = fitting.head(fold.looks, fold.labels, head).head
        assert torch.equal(part.head.weight, head.weight)
        assert torch.equal(features[part.rows], fold.held_out)
    shorter = judge_stages(images, features, a_fitting(*stages, dim=3))
    assert {part.head.weight.shape for part in shorter.unseen} == {(3, DIM)}


def test_folds_hold_out_each_class_once_with_its_own_features():
    images, features = a_set(num_classes=13)
    folds = _folds(images, features[None], 5, seed=0)
    assert len(folds) == 13 // LEAST_CLASSES
    held_out = torch.cat([fold.held_out for fold in folds])
    assert torch.equal(held_out.sort(dim=0).values, features.sort(dim=0).values)
    for fold in folds:
        assert len(fold.held_out_labels.unique()) >= LEAST_CLASSES
        assert len(fold.labels.unique()) + len(fold.held_out_labels.unique()) == 13
        assert not (fold.looks[0][:, None] == fold.held_out).all(2).any()


def test_groups_are_not_cut_and_not_found():
    images, features = a_set()
    labels = images.labels
    own = replace(images, groups=np.arange(len(labels)) // 2)  # pairs of one class
    found = judge_stages(own, features, a_fitting("closed_form"))
    assert found.frozen != judge_stages(images, features, a_fitting("closed_form")).frozen
    across = replace(images, groups=labels // 12)  # all classes are joined to two: no three folds
    assert judge_stages(across, features, a_fitting())[:4] == (None, [], None, None)
    alone = replace(images, groups=labels)  # what matches is of one's own group, always
    assert judge_stages(alone, features, a_fitting())[:4] == (None, [], None, None)


def test_a_stage_as_json():
    found = judge_stages(*a_set(), a_fitting("closed_form"))
    content = found.stages[0].to_json()
    assert content.keys() == {"stage", "settings", "validation", "difference", "kept", "seconds"}
    assert content["difference"]["map@r"] == list(found.stages[0].verdict.map_at_r)
    assert json.loads(json.dumps(content)) == content
