"""Bytes and collectives of a step, counted in 16 ranks that are threads, against the formulas."""

import threading
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch.testing._internal.distributed import multi_threaded_pg

import circlet
from circlet.plan import Scale
from circlet.plan.exchange import Traffic, all_reduce, of_gradients, of_loss, of_memory, reduce_scatter
from circlet.training import Objective
from tests.plan.networks import NETWORK

SMALL = Scale(images=1000, classes=40, ranks=16, batch=64, dim=8, half=False)


class Counted(multi_threaded_pg.ProcessLocalGroup):
    """A group of threads that notes what its ranks send, by rings."""

    sent: dict[int, list[float]]

    def _note(self, num_bytes):
        Counted.sent.setdefault(self.rank(), []).append(num_bytes)

    def all_gather_single(self, output_tensor, input_tensor, *options):
        self._note((self.size() - 1) * input_tensor.nbytes)
        return super().all_gather_single(output_tensor, input_tensor, *options)

    def reduce_scatter_single(self, output_tensor, input_tensor, *options):
        self._note((self.size() - 1) * output_tensor.nbytes)
        return super().reduce_scatter_single(output_tensor, input_tensor, *options)


def counted(scale):
    """What each rank sends in a forward and a backward pass and the update of the memory bank."""
    Counted.sent, errors, store = {}, [], dist.HashStore()

    def work(rank):
        try:
            dist.init_process_group("threaded", rank=rank, world_size=scale.ranks, store=store)
            objective = Objective(circlet.CircleLoss(), scale.level, scale.classes, scale.dim, memory=scale.memory)
            Counted.sent.pop(rank, None)  # of setting up
            generator = torch.Generator().manual_seed(rank)
            rows = torch.randn(scale.own_batch, scale.dim, generator=generator).requires_grad_()
            labels = (torch.arange(scale.own_batch) // 2 + rank) % scale.classes
            objective(rows, labels).backward()
            objective.remember(rows.detach(), labels)
            dist.destroy_process_group()
        except BaseException as error:
            errors.append(error)
            multi_threaded_pg.ProcessLocalGroup.exception_handle(error)

    multi_threaded_pg._install_threaded_pg()
    torch._C._distributed_c10d._set_thread_isolation_mode(True)
    made = multi_threaded_pg.ProcessLocalGroup
    multi_threaded_pg.ProcessLocalGroup = Counted
    try:
        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(scale.ranks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        multi_threaded_pg.ProcessLocalGroup = made
        made.reset()
        torch._C._distributed_c10d._set_thread_isolation_mode(False)
        multi_threaded_pg._uninstall_threaded_pg()
    if errors:
        raise errors[0]
    return Counted.sent


@pytest.mark.parametrize(
    "changes",
    [{"level": "pair"}, {}, {"level": "class", "memory": 32}, {"ranks": 3, "batch": 48}],
    ids=str,
)  # fmt: skip
def test_what_ranks_send_is_what_the_formulas_say(changes):
    scale = replace(SMALL, **changes)
    expected = of_loss(scale) + of_memory(scale)
    found = counted(scale)
    assert sorted(found) == list(range(scale.ranks))
    for sent in found.values():
        assert Traffic(sum(sent), len(sent)) == expected


def test_alone_nothing_is_sent():
    alone = replace(SMALL, ranks=1, memory=8)
    assert of_loss(alone) == of_memory(alone) == of_gradients(alone, NETWORK) == Traffic(0.0, 0)


def test_gloo_sends_twice_as_much_for_a_reduce_scatter():
    assert reduce_scatter(SMALL, 100) == Traffic(1500, 1)
    assert reduce_scatter(replace(SMALL, on_gpu=False), 100) == Traffic(3000, 1)
    assert all_reduce(SMALL, 1600) == Traffic(3000, 1)


def test_gradients_go_in_buckets_and_spread_weights_three_times():
    buckets = of_gradients(SMALL, NETWORK._replace(weights=20_000_000, buffers=160))
    assert buckets.sent == pytest.approx(2 * 15 / 16 * 80e6 + 15 / 16 * 160)
    assert buckets.messages == 1 + 4 + 1  # 1 MiB, then 25 MiB each; the buffers
    spread = of_gradients(replace(SMALL, fsdp=True), NETWORK._replace(weights=20_000_000))
    assert spread.sent == pytest.approx(3 * 15 / 16 * 80e6)
