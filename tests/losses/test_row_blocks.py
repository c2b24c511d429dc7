"""Losses that no tile can carry: any size of a block gives the same, and memory stays below the matrix."""

import ctypes
import sys
from functools import partial

import pytest
import torch

import circlet
from circlet.losses import pair_loss
from circlet.similarity import in_row_blocks
from tests.forks import FORKS, what_was_said
from tests.losses.cases import EVERY_LOSS, batch, with_reduction
from tests.memory import peak_beyond

IN_BLOCKS = {name: loss for name, loss in EVERY_LOSS.items() if not loss.form().is_streamed}


def test_which_losses_go_in_blocks():
    assert set(EVERY_LOSS) - set(IN_BLOCKS) >= {"circle", "nca", "proxy_nca", "proxy_anchor", "triplet", "multi_label"}
    assert set(IN_BLOCKS) >= {"supcon", "nt_xent", "soft_triple", "subcenter_arcface", "contrastive", "adaface"}


@pytest.mark.parametrize("loss", IN_BLOCKS.values(), ids=IN_BLOCKS.keys())
@pytest.mark.parametrize("level", ["pair", "class", "joint"])
@pytest.mark.parametrize("block_pairs", [1, 50])
def test_small_blocks_are_as_one(loss, level, block_pairs, monkeypatch):
    embeddings, labels = batch(spread=2.0)
    classes = circlet.ClassWeights(5, embeddings.shape[1], centers=2).double()
    sources = {"pair": None, "class": classes, "joint": [classes, None]}[level]
    weights = torch.rand(len(labels), dtype=torch.float64)
    results = []
    for size in (None, block_pairs):
        if size is not None:
            monkeypatch.setattr(pair_loss, "in_row_blocks", partial(in_row_blocks, block_pairs=size))
        leaves = [embeddings.clone().requires_grad_(), *([] if level == "pair" else [classes.weight])]
        value = with_reduction(loss, "none")(leaves[0], labels, sources)
        grads = torch.autograd.grad((weights * value).sum(), leaves)
        results.append((value.detach(), *grads))
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)


def peak_of_a_step(said):
    """MiB that a step takes beyond its operands, in a process of its own.

    Of what is in use: glibc by default keeps freed blocks of that size in a heap that small tensors fragment.
    """
    mmap_threshold = -3
    assert ctypes.CDLL(None).mallopt(mmap_threshold, 65536)
    torch.set_num_threads(1)
    step(2000)
    said.send(step(8192))


def step(batch):
    x, labels = torch.randn(batch, 64, requires_grad=True), torch.randperm(batch) // 4
    return peak_beyond(lambda: circlet.SupConLoss()(x, labels).backward())


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_the_matrix():
    """The matrix alone would be 256 MiB, and a dense loss takes several of them; a block is 8 MiB."""
    heard, said = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=peak_of_a_step, args=(said,))
    process.start()
    said.close()  # our copy
    assert what_was_said(heard)[0] < 100
    process.join()
