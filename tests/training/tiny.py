"""A tiny training problem: points around class centres, and a linear embedder."""

import torch
from torch import nn

import circlet
from circlet.training import LoopConfig, Objective, OptimizerConfig, RunFolder, fit


class Batches:
    def __init__(self, num_classes=6, per_class=8, batch=16):
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(num_classes).repeat_interleave(per_class)
        self.points = torch.randn(num_classes, 12, generator=generator)[self.labels]
        self.points = self.points + 0.5 * torch.randn(self.points.shape, generator=generator)
        self.batch = batch

    def __len__(self):
        return len(self.labels) // self.batch

    def epoch(self, epoch, start_batch):
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(epoch))
        for indices in order.split(self.batch)[start_batch : len(self)]:
            yield self.points[indices], self.labels[indices]


def noise(points, labels):
    return points + 0.1 * torch.randn_like(points), labels


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(16, 8))

    def forward(self, x):
        return self.head(self.backbone(x))


def parts(level="joint", num_classes=6, **references):
    torch.manual_seed(0)
    return Net(), Objective(circlet.CircleLoss(margin=0.4, gamma=32.0), level, num_classes, 8, **references)


def config(**changes):
    settings = {"steps": 30, "log_every": 5, "checkpoint_every": 7, "validate_every": 10}
    return LoopConfig(**{"optimizer": OptimizerConfig(learning_rate=1e-2), **settings, **changes})


def run(
    path, *, level="joint", memory=0, sample=1.0, augment=noise, batches=None, device="cpu", validate=None,
    observe=None, **changes
):  # fmt: skip
    model, objective = parts(level, memory=memory, sample=sample)
    folder = RunFolder(path) if (path / "config.json").exists() else RunFolder.create(path, {})
    fit(
        model,
        objective,
        batches or Batches(),
        config(**changes),
        folder,
        device=torch.device(device),
        augment=augment,
        validate=validate,
        observe=observe,
    )
    return model, objective, folder
