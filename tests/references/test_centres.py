"""Class weights of several references a class."""

import pytest
import torch

import circlet
from circlet.training import Objective
from tests.losses.cases import CENTRES, batch


def test_class_weights_of_one_centre_are_as_ever():
    classes = circlet.ClassWeights(5, 4)
    assert classes.state_dict().keys() == {"weight"}
    assert classes.references().labels is None
    assert repr(classes) == "ClassWeights(num_classes=5, embedding_dim=4)"
    assert circlet.ShardedClassWeights(5, 4).weight.shape == classes.weight.shape == (5, 4)


def test_centres_of_a_class_follow_each_other():
    classes = circlet.ClassWeights(3, 4, centers=2)
    assert classes.weight.shape == (6, 4)
    assert classes.references().labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert repr(classes) == "ClassWeights(num_classes=3, embedding_dim=4, centers=2)"
    embeddings = torch.randn(2, 4)
    with pytest.raises(ValueError, match="labels: found class id 3, expected 0 to 2"):
        circlet.SubCenterArcFaceLoss()(embeddings, torch.tensor([0, 3]), classes)
    with pytest.raises(ValueError, match="centers: found 0, expected at least 1"):
        circlet.ClassWeights(3, 4, centers=0)


@pytest.mark.parametrize("loss", CENTRES.values(), ids=CENTRES.keys())
def test_the_order_of_the_centres_does_not_matter(loss):
    embeddings, labels = batch()
    classes = circlet.ClassWeights(5, embeddings.shape[1], centers=3).double()
    rows, names = classes.references()
    order = torch.randperm(len(rows))
    torch.testing.assert_close(loss(embeddings, labels, rows[order], names[order]), loss(embeddings, labels, classes))


@pytest.mark.parametrize("loss", CENTRES.values(), ids=CENTRES.keys())
def test_a_shard_on_one_rank_is_the_plain_weight(loss):
    embeddings, labels = batch()
    shard = circlet.ShardedClassWeights(5, embeddings.shape[1], centers=3).double()
    assert shard.weight.shape == (5, 3, 8)
    assert repr(shard) == "ShardedClassWeights(num_classes=5, embedding_dim=8, centers=3, sample_rate=1.0)"
    names = torch.arange(5).repeat_interleave(3)
    for sources in ([shard], [shard, circlet.AllRanks()]):
        plain = [(shard.own_weight, names), *([None] if len(sources) > 1 else [])]
        torch.testing.assert_close(loss(embeddings, labels, sources), loss(embeddings, labels, plain))


def test_sampling_keeps_the_centres_of_a_class_together():
    shard = circlet.ShardedClassWeights(40, 4, centers=3, sample_rate=0.25)
    batch_of_all = circlet.references.GlobalBatch(torch.randn(4, 4), torch.tensor([7, 7, 0, 39]), None)
    (pairs,) = shard.pairs(batch_of_all)
    assert pairs.references.shape == (30, 4)
    chosen, counts = pairs.reference_labels.unique(return_counts=True)
    assert (counts == 3).all()
    assert {0, 7, 39} <= set(chosen.tolist())
    torch.testing.assert_close(pairs.references, shard.weight[chosen].flatten(0, 1))


def test_an_objective_has_as_many_centres_as_its_loss_is_made_for():
    def centers(loss, **settings):
        return Objective(loss, "class", 4, 8, **settings).classes.centers

    assert centers(circlet.CircleLoss()) == 1
    assert centers(circlet.SubCenterArcFaceLoss()) == 3
    assert centers(circlet.SoftTripleLoss(), sample=0.5) == 10
    assert centers(circlet.SoftTripleLoss(), centers=2) == 2
    assert Objective(circlet.SoftTripleLoss(), "pair", 4, 8).classes is None


def test_an_objective_keeps_the_state_of_its_loss():
    objective = Objective(circlet.CurricularFaceLoss(), "class", 5, 8)
    assert list(objective.state_dict()) == ["loss.t", "classes.weight"]
    embeddings, labels = batch(dtype=torch.float32)
    objective(embeddings, labels)
    assert objective.loss.t != 0
