"""circlet.fit for those who bring model, loss and batches themselves: a DataLoader, a path, and nothing else."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import circlet
from circlet.sampling import PKSampler
from circlet.training import LoopConfig, Objective, OptimizerConfig, RunFolder, load
from tests.training.test_loop import Killed, same_state
from tests.training.tiny import Net

POINTS = torch.randn(6, 12, generator=torch.Generator().manual_seed(0)).repeat_interleave(8, 0)
LABELS = torch.arange(6).repeat_interleave(8)


class Noisy(Dataset):
    """Points with noise from torch's global random numbers, as a random crop in `__getitem__` would have."""

    def __len__(self):
        return len(POINTS)

    def __getitem__(self, item):
        return POINTS[item] + 0.1 * torch.randn(12), LABELS[item]


def shuffled(**settings):
    return DataLoader(Noisy(), batch_size=12, shuffle=True, **settings)


def pk(**settings):
    return DataLoader(Noisy(), batch_sampler=PKSampler(LABELS, 3, 4), **settings)


def persistent():
    """Their order is exact, but their own random numbers go on from epoch to epoch: so a data set without any."""
    sampler = PKSampler(LABELS, 3, 4)
    return DataLoader(TensorDataset(POINTS, LABELS), batch_sampler=sampler, num_workers=1, persistent_workers=True)


def listed():
    return list(zip(POINTS.split(12), LABELS.split(12), strict=True))


def fit(folder, batches, **changes):
    torch.manual_seed(0)
    model, loss = Net(), circlet.CircleLoss(margin=0.4, gamma=32.0)
    settings = {"steps": 14, "log_every": 5, "checkpoint_every": 3, "optimizer": OptimizerConfig(learning_rate=1e-2)}
    seconds = circlet.fit(model, loss, batches, config=LoopConfig(**settings), folder=folder, **changes)
    assert seconds > 0
    return model


def test_it_learns(tmp_path):
    torch.manual_seed(0)
    model, loss = Net(), circlet.CircleLoss(margin=0.4, gamma=32.0)
    circlet.fit(model, loss, pk(), LoopConfig(steps=60, log_every=5), str(tmp_path / "run"))
    losses = [line["loss"] for line in RunFolder.open(tmp_path / "run").read_metrics()]
    assert losses[-1] < 0.5 * losses[0]
    assert not model.training


@pytest.mark.parametrize(
    "make",
    [
        *(shuffled, pk, listed),
        pytest.param(lambda: shuffled(num_workers=2), marks=pytest.mark.subprocess),
        pytest.param(lambda: pk(num_workers=1), marks=pytest.mark.subprocess),
        pytest.param(persistent, marks=pytest.mark.subprocess),
    ],
)
@pytest.mark.parametrize("kill_at", [1, 7])
def test_killed_in_the_middle_of_an_epoch_and_resumed(tmp_path, make, kill_at):
    whole = fit(tmp_path / "whole", make())
    calls = iter(range(1000))

    def dying(points, labels):
        if next(calls) == kill_at:
            raise Killed
        return points, labels

    with pytest.raises(Killed):
        fit(tmp_path / "cut", make(), augment=dying)
    resumed = fit(tmp_path / "cut", make())
    assert same_state(dict(whole.state_dict()), dict(resumed.state_dict()))
    assert same_state(load(tmp_path / "whole" / "last.pt"), load(tmp_path / "cut" / "last.pt"))


@pytest.mark.parametrize("make", [shuffled, pk])
def test_epochs_differ(tmp_path, make):
    seen = []

    def watch(points, labels):
        seen.append(labels.tolist())
        return points, labels

    loader = make()
    fit(tmp_path / "run", loader, augment=watch)
    epochs = [str(seen[first : first + len(loader)]) for first in (0, 4, 8)]
    assert len(set(epochs)) == 3


def test_an_objective_of_ones_own_is_trained_too(tmp_path):
    class Classes(nn.Module):
        def __init__(self):
            super().__init__()
            self.loss, self.classes = circlet.AMSoftmaxLoss(), circlet.ClassWeights(6, 8)

        def forward(self, embeddings, labels):
            return self.loss(embeddings, labels, self.classes)

    objective = Classes()
    before = objective.classes.weight.detach().clone()
    circlet.fit(Net(), objective, pk(), LoopConfig(steps=2), tmp_path / "run")
    assert not torch.equal(before, objective.classes.weight)
    assert "classes.weight" in load(tmp_path / "run" / "last.pt")["objective"]


def test_the_folder_is_one_that_can_be_opened_and_is_not_taken_from_others(tmp_path):
    fit(tmp_path / "run", pk())
    folder = RunFolder.open(tmp_path / "run")
    assert folder.read_json("config.json")["loop"]["steps"] == 14
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="other: exists and is not an empty folder"):
        fit(tmp_path / "other", pk())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(listed())


class Short(list):
    def __iter__(self):
        return iter(self[:2])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (iter(listed()), "batches: found list_iterator, expected something that can be iterated over once for each"),
        (DataLoader(Stream(), batch_size=None), "batches: found DataLoader without a length"),
        (3, "batches: found int, expected something that can be iterated over"),
        ([], "batches: found none, expected at least one"),
        (Short(listed()), r"batches: found 2 batches in epoch 0, expected 4, their len\(\)"),
    ],
)
def test_batches_that_are_no_epochs(tmp_path, batches, message):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path / "run", batches)


def test_a_loss_for_each_anchor_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"objective: found a loss of shape \(12,\), expected a scalar"):
        circlet.fit(Net(), circlet.CircleLoss(reduction="none"), pk(), LoopConfig(steps=2), tmp_path / "run")


def test_samplers_inside_a_loader_are_told_the_epoch(tmp_path):
    from torch.utils.data import DistributedSampler

    sampler = DistributedSampler(TensorDataset(POINTS, LABELS), num_replicas=2, rank=0)
    fit(tmp_path / "run", DataLoader(TensorDataset(POINTS, LABELS), batch_size=8, sampler=sampler))
    assert sampler.epoch == 4  # 14 steps of 3 batches an epoch


def test_objective_with_a_memory_bank(tmp_path):
    objective = Objective(circlet.CircleLoss(), "pair", 6, 8, memory=24)
    circlet.fit(Net(), objective, pk(), LoopConfig(steps=3), tmp_path / "run", device="cpu")
    assert len(objective.bank) == 24
