"""Losses that no tile can carry: any size of a block gives the same, and memory stays below the matrix."""

import os
import subprocess
import sys
from functools import partial

import pytest
import torch

import circlet
from circlet.losses import pair_loss
from circlet.similarity import in_row_blocks
from tests.losses.cases import EVERY_LOSS, batch, with_reduction

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


MEMORY = """
import torch
import circlet

torch.set_num_threads(1)

def status(key):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(key))

def step(batch):
    x, labels = torch.randn(batch, 64, requires_grad=True), torch.randperm(batch) // 4
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    circlet.SupConLoss()(x, labels).backward()
    return status("VmHWM") - before

step(2000)
print(step(12288))
"""


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_the_matrix():
    """The matrix alone would be 576 MiB, and a dense loss takes several of them; a block is 8 MiB.

    Of what is in use: glibc by default keeps freed blocks of that size in a heap that small tensors fragment.
    """
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", MEMORY]
    peak = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert float(peak) < 100
