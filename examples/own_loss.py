"""A loss of your own, its rule included, trained in a plain loop.

Run:     python examples/own_loss.py
Prints:  the loss every 50 steps, and Recall@1 on classes never trained on, before and after.

`help(circlet.Form)` lists what else a loss may be made of. `circlet train --loss.name module:SquaredLoss` takes it too.
"""

from dataclasses import dataclass

import torch

import circlet
from circlet import Form, PairLoss
from circlet.rules import Rule


@dataclass(frozen=True)
class Squared(Rule):
    gamma: float = 16.0

    def positive(self, s):
        return self.gamma * (1 - s).square()  # the further from 1, the harder the pull

    def negative(self, s):
        return self.gamma * s.clamp(min=0).square()  # the further above 0, the harder the push


class SquaredLoss(PairLoss):
    gamma: float = 16.0

    def form(self):
        return Form(Squared(self.gamma))


# Toy data: the class of a point shows in 4 of its 32 numbers, the rest is noise. Half of the classes are held out.
torch.manual_seed(0)
labels = torch.arange(40).repeat_interleave(10)
points = torch.cat([torch.randn(40, 4)[labels] + 0.2 * torch.randn(400, 4), torch.randn(400, 28)], dim=1)
train, test = labels < 20, labels >= 20

model = torch.nn.Linear(32, 8)
loss = SquaredLoss(gamma=8)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)


def recall() -> float:
    with torch.no_grad():
        return circlet.evaluate.retrieval(model(points[test]), labels[test]).recall_at_k[1]


print(f"{loss}: Recall@1 on held-out classes {recall():.3f} before training")
for step in range(1, 201):
    value = loss(model(points[train]), labels[train])
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step}: loss {value.item():.3f}")
print(f"Recall@1 on held-out classes {recall():.3f} after training")
