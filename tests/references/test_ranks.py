"""Losses over several ranks against a single process with the global batch; checkpoints on other numbers of ranks."""

import pytest
import torch

import circlet
from tests import forks
from tests.references import on_ranks

EVERYWHERE = [
    on_ranks.equals_single_process,
    on_ranks.no_valid_anchor,
    on_ranks.every_loss_equals_single_process,
    on_ranks.every_reduction_of_losses_by_row,
    on_ranks.gradient_cache_over_the_global_batch,
]
SEVERAL = [
    *EVERYWHERE,
    on_ranks.shards_differ_though_seeds_do_not,
    on_ranks.frozen_embeddings,
    on_ranks.samples_negatives,
    on_ranks.clips_mixed_parameters,
    on_ranks.disagree,
    on_ranks.gradient_is_local,
    on_ranks.double_backward_is_refused,
    on_ranks.not_finite,
    on_ranks.world_by_name,
    on_ranks.one_rank_holds_the_whole_batch,
    on_ranks.equals_single_process_in_tiles,
]


def run(num_ranks, folder, checks):
    forks.on_ranks(num_ranks, on_ranks.in_own_process, num_ranks, str(folder), checks)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """The folder in which two ranks have passed their checks and saved a checkpoint."""
    folder = tmp_path_factory.mktemp("ranks")
    run(2, folder, [*SEVERAL, on_ranks.save, on_ranks.a_rank_is_missing])
    return folder


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_one_rank(tmp_path, double):
    threads = torch.get_num_threads()
    on_ranks.on_rank(0, 1, tmp_path, EVERYWHERE)
    torch.set_num_threads(threads)


@pytest.mark.subprocess
def test_two_ranks(two_ranks):
    assert (two_ranks / "checkpoint").exists()


@pytest.mark.subprocess
def test_four_ranks(tmp_path):
    run(4, tmp_path, SEVERAL)


@pytest.mark.subprocess
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning")
def test_checkpoint_of_two_ranks_loads_on_one_and_three(two_ranks, double):
    on_ranks.load(0, 1, two_ranks)
    run(3, two_ranks, [on_ranks.load, on_ranks.equals_single_process])


def test_without_a_process_group_the_sources_are_the_plain_ones():
    embeddings, labels = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    loss, classes = circlet.CircleLoss(), circlet.ShardedClassWeights(3, 4)
    torch.testing.assert_close(
        loss(embeddings, labels, [classes, circlet.AllRanks()]), loss(embeddings, labels, [classes.weight, None])
    )
    with pytest.raises(ValueError, match="labels: found class id 2, expected 0 to 1"):
        loss(embeddings, labels, circlet.ShardedClassWeights(2, 4))
    with pytest.raises(ValueError, match="embeddings: found 4 columns, expected 5 as in the class weights"):
        loss(embeddings, labels, circlet.ShardedClassWeights(3, 5))
    with pytest.raises(ValueError, match="references: found sources of several process groups"):
        loss(embeddings, labels, [circlet.AllRanks(), circlet.AllRanks("another")])
    with pytest.raises(ValueError, match="references: found None beside AllRanks"):
        loss(embeddings, labels, [None, circlet.AllRanks()])
    with pytest.raises(ValueError, match="positive_mask: found with a source over all ranks, expected labels alone"):
        loss(embeddings, None, circlet.AllRanks(), positive_mask=torch.eye(6).bool())
