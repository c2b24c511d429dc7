"""What one rank does in the tests of training over several ranks (a module of its own, for spawned processes)."""

import itertools
import os
import signal
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from torch import nn

import circlet
from circlet.distributed import any_rank, num_ranks, on_all_ranks, on_rank_0, process_group, rank_in
from circlet.training import LoopConfig, Objective, OptimizerConfig, RunFolder, fit
from circlet.training.shards import full_state
from tests.thorough import THOROUGH

NUM_CLASSES, DIM = 7, 4  # Over 4 ranks: shards of 2, 2, 2 and 1 classes.


class Batches:
    """Rank's part of six global batches an epoch, each of four classes with three points."""

    def __init__(self):
        self.rank, self.ranks = rank_in(None), num_ranks(None)

    def __len__(self):
        return 6

    def epoch(self, epoch, start_batch):
        for batch in range(start_batch, 6):
            generator = torch.Generator().manual_seed(100 * epoch + batch)
            labels = torch.randperm(NUM_CLASSES, generator=generator)[:4].repeat_interleave(3)
            points = torch.randn(12, 6, generator=generator, dtype=torch.float64) + labels[:, None]
            yield points.tensor_split(self.ranks)[self.rank], labels.tensor_split(self.ranks)[self.rank]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(7, 9), nn.Linear(9, 7)

    def forward(self, x):
        return x + self.second(nn.functional.gelu(self.first(x)))


class Net(nn.Module):
    """No batch norm and no dropout: nothing that depends on the ranks. Its weights do not divide by their number."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 7), nn.GELU(), Block(), Block())
        self.head = nn.Linear(7, DIM)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * self.head(self.backbone(x))


class NormedNet(Net):
    """With both."""

    def __init__(self):
        super().__init__()
        self.backbone.insert(1, nn.BatchNorm1d(7))
        self.backbone[3].second = nn.Sequential(self.backbone[3].second, nn.BatchNorm1d(7), nn.Dropout(0.2))


def score(model):
    """A validation that needs an ordinary module, on rank 0 alone."""
    assert all(type(parameter) is nn.Parameter for parameter in model.parameters())
    with torch.no_grad():
        return {"score": float(model(torch.eye(6, dtype=model.scale.dtype)).sum())}


CASES = {
    "pair": {},
    "class": {},
    "joint": {},
    "pair sgd": {"optimizer": "sgd"},
    "class adam": {"optimizer": "adam"},
    "joint memory": {"memory": 16},
    "pair memory chunk": {"memory": 16, "chunk": 2},
    "joint chunk": {"chunk": 2},
    "pair last block": {"settings": {"train_blocks": 1}},
    "class head alone": {"settings": {"train_blocks": 0, "freeze_backbone": 0}},
    "class weights alone": {"frozen": True},
    "joint average": {"settings": {"average": 0.9, "layer_decay": 0.5}},
    "pair fsdp": {"optimizer": "adam", "loop": {"fsdp": True}},
    "joint fsdp recomputed average": {
        "settings": {"average": 0.8},
        "loop": {"fsdp": True, "grad_checkpointing": True, "validate_every": 3},
        "validate": score,
    },
    "class fsdp recomputed last block chunk": {
        "optimizer": "sgd",
        "chunk": 4,
        "settings": {"train_blocks": 1},
        "loop": {"fsdp": True, "grad_checkpointing": True},
    },
    "class fsdp weights alone chunk": {"frozen": True, "chunk": 2, "loop": {"fsdp": True}},
    "pair patience": {"loop": {"patience": 6, "validate_every": 1}, "validate": lambda model: {"score": 0.0}},
}


def train(path, case, stop_after=None, **keywords):
    """Nine steps, or the rest of them, or `stop_after` of them; all weights at the end, on rank 0."""
    settings = {"optimizer": "adamw", "memory": 0, "chunk": 0, "settings": {}, "loop": {}, **CASES[case]}
    torch.manual_seed(0)
    model = Net().double().requires_grad_(not settings.get("frozen"))
    objective = Objective(
        circlet.CircleLoss(margin=0.4, gamma=8.0), case.split()[0], NUM_CLASSES, DIM, memory=settings["memory"]
    )
    objective.double()
    if objective.classes is not None:
        weight = torch.randn(NUM_CLASSES, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        same_part_of(weight, objective.classes)
    optimizer = {
        "name": settings["optimizer"],
        "learning_rate": 1e-2,
        "warmup": 0.2,
        "clip_norm": 0.5,
        "freeze_backbone": 2,
        "class_lr_scale": 3.0,
        **settings["settings"],
    }
    config = LoopConfig(
        steps=9,
        log_every=2,
        checkpoint_every=100,
        precision="fp32",
        chunk=settings["chunk"],
        optimizer=OptimizerConfig(**optimizer),
        **settings["loop"],
    )
    calls = itertools.count(1)

    def augment(points, labels):
        if next(calls) == stop_after and rank_in(None) == 0:  # the other ranks have to be told
            os.kill(os.getpid(), signal.SIGTERM)
        return points, labels

    path.mkdir(exist_ok=True)
    stops = pytest.raises(KeyboardInterrupt) if stop_after else nullcontext()
    with stops:
        keywords.update(device=torch.device("cpu"), augment=augment, validate=settings.get("validate"))
        fit(model, objective, Batches(), config, RunFolder(path), **keywords)
    return full_state({**model.state_dict(), **objective.state_dict()})


def same_part_of(weight, classes):
    if isinstance(classes, circlet.ShardedClassWeights):
        classes.own_weight.data.copy_(weight[classes.first : classes.last])
    else:
        classes.weight.data.copy_(weight)


# All the way on four ranks or on two; every case goes from four to two to one, and from one to two, too.
BOTH = "joint fsdp recomputed average"
ON_FOUR = CASES if THOROUGH else ("class", "joint memory", BOTH, "pair patience", "pair fsdp")
ON_TWO = CASES if THOROUGH else [BOTH, *(case for case in CASES if case not in ON_FOUR)]


def equal_one_process(rank, folder, cases):
    """Cases, all the way, against what one process with the whole batches has left in `folder`."""
    for case in cases:
        compare(train(folder / f"{case} on {dist.get_world_size()}", case), folder / f"{case}.pt")


def compare(state, path):
    if rank_in(None) > 0:
        return
    expected = torch.load(path)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-9)
        else:
            assert state[name] == value


def four_ranks(rank, folder):
    equal_one_process(rank, folder, ON_FOUR)
    for case in CASES:
        train(folder / f"{case} from four", case, stop_after=3)


def two_ranks(rank, folder):
    equal_one_process(rank, folder, ON_TWO)
    for case in CASES:
        train(folder / f"{case} from four", case, stop_after=3)
        compare(train(folder / f"{case} from one", case), folder / f"{case}.pt")
    observes_on_all_ranks(folder)
    spread_is_as_copied(folder)
    cannot_be_spread(folder)


def observes_on_all_ranks(folder):
    """The hook may use the objective, which is collective; rank 0's numbers are written."""
    asked = []

    def observe(objective, embeddings, labels):
        assert not torch.is_grad_enabled()
        asked.append(float(objective(embeddings, labels)))
        return {"again": asked[-1], "rows": float(len(embeddings))}

    train(folder / "observed", "joint", observe=observe)
    assert len(asked) == 5
    if rank_in(None) == 0:
        lines = RunFolder(folder / "observed").read_metrics()
        assert [line["again"] for line in lines] == asked
        assert [line["rows"] for line in lines] == [6.0] * 5


def spread_is_as_copied(folder):
    """What each rank holds of a network changes no bit, in half precision too, and ends as an ordinary module."""
    spread = {"fsdp": True, "grad_checkpointing": True}
    for number, settings in enumerate([{"precision": "bf16"}, {"precision": "fp32", "chunk": 6}]):
        states = []
        for kind, memory in (("copied", {}), ("spread", spread)):
            torch.manual_seed(3)
            model, objective = NormedNet(), Objective(circlet.CircleLoss(gamma=8.0), "joint", NUM_CLASSES, DIM)
            optimizer = OptimizerConfig(learning_rate=1e-2, clip_norm=None, freeze_backbone=1)
            config = LoopConfig(steps=4, optimizer=optimizer, **settings, **memory)
            fit(model, objective, SinglePrecision(), config, folder / f"{kind} {number}")
            assert not model.training
            assert type(model) is NormedNet
            assert all(type(value) is nn.Parameter for value in model.parameters())
            states.append(model.state_dict())
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), (settings, name)


class SinglePrecision(Batches):
    def epoch(self, epoch, start_batch):
        return ((points.float(), labels) for points, labels in super().epoch(epoch, start_batch))


def cannot_be_spread(folder):
    """One rank says why, and the caller's model is as it was, or NaN where it was trained already."""
    model = NormedNet()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = LoopConfig(steps=4, fsdp=True, chunk=1, precision="fp32")

    def fails(model, config, message, **keywords):
        raised = pytest.raises(ValueError, match=message)
        with raised if rank_in(None) == 0 or "parts" in message else pytest.raises(SystemExit):
            fit(model, circlet.CircleLoss(), SinglePrecision(), config, folder / f"fails {len(message)}", **keywords)

    model.scale = nn.Parameter(torch.tensor(1.0))
    fails(model, config, "loop.fsdp: found a parameter without dimensions, scale")
    model.scale = nn.Parameter(torch.ones(1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def uneven(points, labels):
        keep = slice(1 + 4 * rank_in(None))
        return points[keep], labels[keep]

    fails(model, config, "found parts of 1 and of 5 images of one batch .* at least 5 on each", augment=uneven)
    assert model.head.weight.shape == (DIM, 7)
    assert model.head.weight.isnan().all()


def fails_and_dies(rank, folder):
    """What happens to all where something goes wrong on one: an error, a signal, an end without a word."""
    assert any_rank(rank == 1)
    assert not any_rank(False)
    assert on_rank_0(lambda: rank) == 0
    assert on_all_ranks(lambda: rank) == rank

    def fail():
        if rank == 1:
            raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data") if rank == 1 else pytest.raises(SystemExit, match="1"):
        on_all_ranks(fail)
    with pytest.raises(ZeroDivisionError) if rank == 0 else pytest.raises(SystemExit, match="1"):
        on_rank_0(lambda: 1 / 0)

    def die(points, labels):
        if rank == 1:
            os._exit(0)
        return points, labels

    folder = on_rank_0(lambda: RunFolder.create(folder / "dead", {}))
    model, objective = Net().double(), Objective(circlet.CircleLoss(), "pair", NUM_CLASSES, DIM)
    config = LoopConfig(steps=9, precision="fp32")
    fit(model, objective, Batches(), config, folder, device=torch.device("cpu"), augment=die)


def diverges(rank, folder):
    raise FloatingPointError("the loss is nan")


def in_own_process(rank, num_ranks, folder, works):
    """Each (port, work, ends) in a process group made as torchrun would; ends: each rank's error and message, if any.

    Leaves without Python's clean-up, in which gloo's threads now and then abort.
    """
    torch.set_num_threads(1)
    for port, work, ends in works:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(num_ranks),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        end = pytest.raises(ends[rank][0], match=ends[rank][1]) if ends else nullcontext()
        with end, process_group(torch.device("cpu"), timeout=120):
            work(rank, folder)
        assert not dist.is_initialized()
    os._exit(0)
