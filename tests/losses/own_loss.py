"""A user's own loss: a rule and a loss of 15 lines (in a module, as compiled code and other ranks need it)."""

from dataclasses import dataclass

import torch

from circlet import Form, PairLoss
from circlet.aggregate import softplus
from circlet.similarity import Rule


@dataclass(frozen=True)
class Cubes(Rule):
    gamma: float = 8.0

    def positive(self, s):
        return self.gamma * (1 - s) ** 3

    def negative(self, s):
        return self.gamma * (s + 1) ** 3 / 4


class CubeLoss(PairLoss):
    gamma: float = 8.0

    def form(self):
        return Form(Cubes(self.gamma), softplus)


def by_loops(embeddings, labels, gamma=8.0):
    """Its loss of each anchor of a batch, one pair at a time."""
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(labels)):
        pos = neg = torch.zeros((), dtype=embeddings.dtype)
        for j in range(len(labels)):
            s = unit[i] @ unit[j]
            if j != i and labels[i] == labels[j]:
                pos = pos + torch.exp(gamma * (1 - s) ** 3)
            elif j != i:
                neg = neg + torch.exp(gamma * (s + 1) ** 3 / 4)
        losses.append(torch.log(1 + pos * neg))
    return torch.stack(losses)
