"""What one rank does in the tests of several ranks (a module of its own, so that a spawned process can import it)."""

import copy
import gc
import os
from datetime import timedelta
from itertools import product

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import circlet
from circlet import similarity
from circlet.distributed import collectives
from circlet.similarity import across
from circlet.training.clip import clip_grad_norm_
from circlet.training.gradient_cache import gradient_cache
from tests.losses.cases import CENTRES, EVERY_LOSS, LOSSES, with_reduction
from tests.losses.own_loss import CubeLoss
from tests.thorough import THOROUGH, in_turn

# Rows of each rank: uneven, and none.
SIZES = {1: [7], 2: [6, 3], 3: [3, 2, 4], 4: [4, 0, 3, 2]}
NUM_CLASSES, INPUTS, DIM = 5, 6, 4  # Over 4 ranks: shards of 2, 2, 1 and 0 classes.


def on_rank(rank, num_ranks, folder, checks):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)  # The same on all ranks, as users do.
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/{num_ranks}",
        rank=rank,
        world_size=num_ranks,
        timeout=timedelta(seconds=60),
    )
    try:
        for check in checks:
            check(rank, num_ranks, folder)
        gc.collect()  # DDP's modules, before the process group that they hold on to
        dist.barrier()  # no rank leaves while another still talks to it
    finally:
        dist.destroy_process_group()


def in_own_process(*arguments):
    """`on_rank`, then an end without Python's clean-up, in which gloo's threads now and then abort (SIGABRT)."""
    on_rank(*arguments)
    os._exit(0)


class World:
    """A model, a global batch with singletons, and this rank's part of it."""

    def __init__(self, rank, num_ranks, centers=1):
        sizes = SIZES[num_ranks]
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(sum(sizes), INPUTS, generator=generator)
        self.labels = torch.tensor([0, 1, 0, 3, 1, 4, 0, 1, 3][: sum(sizes)])
        self.weights = torch.rand(sum(sizes), generator=generator)
        self.own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        self.model = nn.Linear(INPUTS, DIM)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.class_weight = torch.randn(NUM_CLASSES * centers, DIM, generator=generator)
        self.old = torch.randn(11, DIM, generator=generator), torch.arange(11) % 5


def equals_single_process(rank, num_ranks, folder):
    levels, reductions = ("pair", "class", "joint", "everything", "replicated"), ("mean", "sum", "none")
    for level, reduction in product(levels, reductions) if num_ranks < 4 else in_turn(levels, reductions):
        _equals_single_process(rank, num_ranks, level, with_reduction(LOSSES["circle"], reduction))
    for level in ("pair", "joint"):
        for name in ("arcface", "triplet", "multi_similarity", "softmax"):
            _equals_single_process(rank, num_ranks, level, LOSSES[name])


def every_loss_equals_single_process(rank, num_ranks, folder):
    """With the batches of all ranks for all losses; with shards of class weights for those whose statistics merge.

    On four ranks each loss at one level.
    """
    for number, (name, loss) in enumerate({**EVERY_LOSS, "own": CubeLoss()}.items()):
        mergeable = loss.form().is_mergeable or loss.form().anchors == "references"
        levels = ["pair", *(["class"] if mergeable else []), *(["joint"] if mergeable and name not in CENTRES else [])]
        for level in levels if num_ranks < 4 or THOROUGH else levels[number % len(levels) :][:1]:
            # In training mode, from the first state on: one that moves on must do so by the batches of all ranks.
            _equals_single_process(rank, num_ranks, level, copy.deepcopy(loss).train(), centers=loss.num_centers)
        if num_ranks == 1:
            continue
        classes = circlet.ShardedClassWeights(NUM_CLASSES, DIM, centers=2)
        sources = [classes, circlet.AllRanks()] if name in CENTRES else classes
        if "joint" not in levels:
            with pytest.raises(ValueError, match="references: found class weights spread over ranks"):
                loss(torch.randn(3, DIM), torch.arange(3), sources)


def every_reduction_of_losses_by_row(rank, num_ranks, folder):
    for name in ("adaface", "magface", "curricular_face", "nca", "subcenter_arcface"):
        for reduction in ("sum", "none"):
            loss = with_reduction(EVERY_LOSS[name], reduction)
            _equals_single_process(rank, num_ranks, "class", loss, centers=loss.num_centers)


def one_rank_holds_the_whole_batch(rank, num_ranks, folder):
    """Own anchors are not told from all anchors by their number."""
    world, classes = World(rank, num_ranks), circlet.ShardedClassWeights(NUM_CLASSES, DIM)
    own = slice(None) if rank == 0 else slice(0, 0)
    weight = classes.weight.full_tensor().detach()
    embeddings = world.model(world.inputs).detach()
    for name in ("circle", "nca", "magface", "proxy_anchor", "supcon"):
        loss = EVERY_LOSS[name]
        for ours, theirs in ((classes, weight), (circlet.AllRanks(), None)):
            if name != "supcon" or theirs is None:
                expected = loss(embeddings, world.labels, theirs)
                _close(loss(embeddings[own], world.labels[own], ours), expected)


def equals_single_process_in_tiles(rank, num_ranks, folder):
    similarity.WHOLE_PAIRS = 0
    across.TILING = across.Tiling(2, 3)
    for name in ("circle", "triplet"):
        _equals_single_process(rank, num_ranks, "joint", LOSSES[name])
    _equals_single_process(rank, num_ranks, "pair", LOSSES["circle"])


def _equals_single_process(rank, num_ranks, level, loss, centers=1):
    world, loss = World(rank, num_ranks, centers), loss.double()
    loss_alone = copy.deepcopy(loss)
    classes = circlet.ShardedClassWeights(NUM_CLASSES, DIM, centers=centers)
    names = torch.arange(NUM_CLASSES).repeat_interleave(centers)
    own_rows = slice(classes.first * centers, classes.last * centers)
    with torch.no_grad():
        classes.own_weight.copy_(world.class_weight[own_rows])
    bank = circlet.MemoryBank(9, DIM, dtype=torch.float64)
    bank.update(*(part.tensor_split(num_ranks)[rank] for part in world.old))
    model = nn.ModuleDict({"embed": world.model, "classes": circlet.ClassWeights(NUM_CLASSES, DIM, centers=centers)})
    model["classes"].weight.data.copy_(world.class_weight)
    sources = {
        "pair": circlet.AllRanks(),
        "class": classes,
        "joint": [classes, circlet.AllRanks()],
        "everything": [bank, circlet.AllRanks(), classes],
        "replicated": [circlet.AllRanks(), model["classes"]],
    }
    embed = DistributedDataParallel(_Embed(model))
    value = loss(embed(world.inputs[world.own]), world.labels[world.own], sources[level])
    _objective(value, world.weights[world.own]).backward()

    alone = nn.Linear(INPUTS, DIM)
    alone.load_state_dict(world.model.state_dict())
    weight = world.class_weight.clone().requires_grad_()
    kept = tuple(part[-9:] for part in world.old)
    plain = (weight, names)
    single = {"pair": None, "class": plain, "joint": [plain, None], "everything": [kept, None, plain]}
    single["replicated"] = single["joint"]
    expected = loss_alone(alone(world.inputs), world.labels, single[level])
    _objective(expected, world.weights).backward()
    for ours, theirs in zip(loss.buffers(), loss_alone.buffers(), strict=True):
        _close(ours, theirs)

    _close(value, expected if expected.ndim == 0 else expected[world.own])
    for rank_rows, theirs in zip(world.model.parameters(), alone.parameters(), strict=True):
        _close(rank_rows.grad, theirs.grad)
    if level == "replicated":
        _close(model["classes"].weight.grad, weight.grad)
    elif level != "pair":
        grad = classes.weight.grad
        _close((grad.to_local() if num_ranks > 1 else grad).reshape(-1, DIM), weight.grad[own_rows])


class _Embed(nn.Module):
    """Touches the replicated class weights too, so that DistributedDataParallel finds all parameters used."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model["embed"](inputs) + 0 * self.model["classes"].weight.sum()


def _objective(value, weights):
    return value if value.ndim == 0 else (value * weights).sum()


def _close(rank_rows, theirs):
    scale = max(1.0, float(theirs.detach().abs().max())) if theirs.numel() else 1.0
    torch.testing.assert_close(rank_rows.detach(), theirs.detach(), rtol=0, atol=1e-12 * scale)


def no_valid_anchor(rank, num_ranks, folder):
    embeddings = torch.randn(2, DIM, requires_grad=True)
    loss = circlet.CircleLoss()(embeddings, torch.arange(2) + 2 * rank, circlet.AllRanks())
    loss.backward()
    assert loss == 0
    assert embeddings.grad.abs().max() == 0


def shards_differ_though_seeds_do_not(rank, num_ranks, folder):
    full = circlet.ShardedClassWeights(4 * num_ranks, DIM).weight.full_tensor()
    assert len({row[0].item() for row in full}) == len(full)


def frozen_embeddings(rank, num_ranks, folder):
    """Only the shard learns; on the last of four ranks it is empty."""
    world, classes = World(rank, num_ranks), circlet.ShardedClassWeights(NUM_CLASSES, DIM)
    embeddings = world.model(world.inputs).detach()
    weight = classes.weight.full_tensor().detach().requires_grad_()
    loss = circlet.CircleLoss(reduction="none")
    loss(embeddings[world.own], world.labels[world.own], classes).sum().backward()
    loss(embeddings, world.labels, weight).sum().backward()
    _close(classes.weight.grad.full_tensor(), weight.grad)


def clips_mixed_parameters(rank, num_ranks, folder):
    torch.manual_seed(0)
    classes, plain = circlet.ShardedClassWeights(NUM_CLASSES, DIM), nn.Linear(3, 2)
    (classes.weight.full_tensor().square().sum() + plain.weight.square().sum()).backward()
    alone = [classes.weight.full_tensor().detach(), plain.weight.detach().clone()]
    for parameter in alone:
        parameter.requires_grad_().square().sum().backward()
    norm = clip_grad_norm_([*classes.parameters(), *plain.parameters()], 0.5)
    _close(norm, nn.utils.clip_grad_norm_(alone, 0.5))
    _close(classes.weight.grad.full_tensor(), alone[0].grad)
    _close(plain.weight.grad, alone[1].grad)


def gradient_cache_over_the_global_batch(rank, num_ranks, folder):
    world, loss = World(rank, num_ranks), circlet.CircleLoss()
    alone = nn.Linear(INPUTS, DIM)
    alone.load_state_dict(world.model.state_dict())
    expected = loss(alone(world.inputs), world.labels)
    expected.backward()
    value = gradient_cache(
        DistributedDataParallel(world.model),
        lambda embeddings, labels: loss(embeddings, labels, circlet.AllRanks()),
        world.inputs[world.own],
        world.labels[world.own],
        chunk_size=2,
    )
    _close(value, expected)
    for rank_rows, theirs in zip(world.model.parameters(), alone.parameters(), strict=True):
        _close(rank_rows.grad, theirs.grad)


def samples_negatives(rank, num_ranks, folder):
    world = World(rank, num_ranks)
    classes = circlet.ShardedClassWeights(40, DIM, sample_rate=0.25)
    full = classes.weight.full_tensor().detach()
    loss = circlet.CircleLoss(reduction="none")
    embeddings, labels = world.model(world.inputs[world.own]), world.labels[world.own]
    torch.manual_seed(rank)
    sampled = loss(embeddings, labels, classes)
    torch.manual_seed(rank)
    chosen = classes._sample(world.labels)
    assert len(chosen) == max(round(0.25 * 40 / num_ranks), len(world.labels.unique()) if rank == 0 else 0)
    all_chosen = [None] * num_ranks
    dist.all_gather_object(all_chosen, chosen + classes.first)
    ids = torch.cat(all_chosen)
    torch.testing.assert_close(sampled, loss(embeddings, labels, full[ids], ids))
    sampled.sum().backward()
    grad = classes.weight.grad.to_local()
    assert set(grad.abs().sum(1).nonzero().flatten().tolist()) <= set(chosen.tolist())
    torch.testing.assert_close(loss(embeddings, labels, classes.eval()), loss(embeddings, labels, full))


def disagree(rank, num_ranks, folder):
    last = rank == num_ranks - 1
    loss, all_ranks, labels = circlet.CircleLoss(), circlet.AllRanks(), torch.arange(3)
    classes = circlet.ShardedClassWeights(NUM_CLASSES, DIM)
    with pytest.raises(ValueError, match=rf"embeddings: found columns \[{DIM}, .*5\] on ranks 0 to {num_ranks - 1}"):
        loss(torch.randn(3, DIM + last), labels, all_ranks)
    with pytest.raises(ValueError, match=r"embeddings: found dtypes \[torch.float32, .*torch.float64\]"):
        loss(torch.randn(3, DIM, dtype=torch.float64 if last else torch.float32), labels, all_ranks)
    with pytest.raises(ValueError, match=r"embeddings: found requires_grad \[False, .*True\]"):
        loss(torch.randn(3, DIM, requires_grad=last), labels, all_ranks)
    message = "labels: found class id 5, expected 0 to 4" if last else rf"found bad ones on ranks \[{num_ranks - 1}\]"
    with pytest.raises(ValueError, match=message):
        loss(torch.randn(3, DIM), labels + (3 if last else 0), [classes, all_ranks])
    with pytest.raises(ValueError, match="labels: found torch.float" if last else "labels: found bad ones|found bad"):
        circlet.MemoryBank(5, DIM).update(torch.randn(3, DIM), labels.double() if last else labels)


def gradient_is_local(rank, num_ranks, folder):
    """By pair-wise labels the backward pass sends nothing."""
    embeddings = torch.randn(3, DIM, requires_grad=True)
    loss = circlet.CircleLoss()(embeddings, torch.arange(3), circlet.AllRanks())
    sent = []
    names = ("_all_gather_single", "_reduce_scatter_single")
    plain = {name: getattr(collectives, name) for name in names}
    for name in names:
        setattr(collectives, name, lambda *_, name=name, **__: sent.append(name))
    loss.backward()
    for name in names:
        setattr(collectives, name, plain[name])
    assert sent == []
    assert embeddings.grad.abs().sum() > 0


def double_backward_is_refused(rank, num_ranks, folder):
    embeddings = torch.randn(3, DIM, requires_grad=True)
    loss = circlet.CircleLoss()(embeddings, torch.arange(3), circlet.AllRanks())
    (grad,) = torch.autograd.grad(loss, embeddings, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        grad.sum().backward()


def not_finite(rank, num_ranks, folder):
    """NaN in the batch or in the class weights of one rank is an error on all, whatever each sees of it."""
    last = rank == num_ranks - 1
    labels, classes = torch.arange(3), circlet.ShardedClassWeights(2 * num_ranks, DIM)
    for sources in (classes, circlet.AllRanks(), [classes, circlet.AllRanks()]):
        for reduction in ("mean", "none"):
            embeddings = torch.randn(3, DIM)
            embeddings[1, 2] = torch.nan if last else 0.0
            with pytest.raises(ValueError, match=r"found NaN or infinity in 1 of|found bad ones on ranks"):
                circlet.CircleLoss(reduction=reduction)(embeddings, labels, sources)
    with torch.no_grad():
        classes.own_weight[0] = torch.nan if last else 0.0
    message = "references: found NaN or infinity in 1 of 2 rows" if last else rf"bad ones on ranks \[{num_ranks - 1}\]"
    with pytest.raises(ValueError, match=message):
        circlet.CircleLoss()(torch.randn(3, DIM), labels, classes)


def world_by_name(rank, num_ranks, folder):
    """None and the group of all ranks are the same group."""
    classes = circlet.ShardedClassWeights(NUM_CLASSES, DIM, process_group=dist.group.WORLD)
    circlet.CircleLoss()(torch.randn(3, DIM), torch.arange(3), [classes, circlet.AllRanks()])


def a_rank_is_missing(rank, num_ranks, folder):
    group = dist.new_group(timeout=timedelta(seconds=1))
    if rank > 0:
        return
    with pytest.raises(RuntimeError) as failure:
        circlet.CircleLoss()(torch.randn(3, DIM), torch.arange(3), circlet.AllRanks(group))
    assert "circlet: in the all-gather of the shapes" in failure.value.__notes__[0]


def save(rank, num_ranks, folder):
    modules = _modules()
    modules["bank"].update(torch.full((rank + 1, DIM), float(rank)), torch.full((rank + 1,), rank))
    dcp.save(modules.state_dict(), checkpoint_id=f"{folder}/checkpoint")
    full = modules["classes"].weight.full_tensor()
    if rank == 0:
        torch.save(full, f"{folder}/full.pt")


def load(rank, num_ranks, folder):
    modules = _modules()
    state = modules.state_dict()
    dcp.load(state, checkpoint_id=f"{folder}/checkpoint")
    modules.load_state_dict(state)
    classes, bank = modules["classes"], modules["bank"]
    full = torch.load(f"{folder}/full.pt")
    assert torch.equal(classes.own_weight, full[classes.first : classes.last])
    assert bank.references().labels.tolist() == [0, 1, 1]
    assert bank.references().embeddings[:, 0].tolist() == [0.0, 1.0, 1.0]


def _modules():
    return nn.ModuleDict({"classes": circlet.ShardedClassWeights(NUM_CLASSES, DIM), "bank": circlet.MemoryBank(4, DIM)})
