"""pytorch-metric-learning, both ways: its miner, sampler and AccuracyCalculator with our loss; its loss with ours.

Run:     python examples/metric_learning.py      (pip install pytorch-metric-learning)
Prints:  the loss by both libraries, then Recall@1 and MAP@R on classes never trained on, as both compute it.
"""

import numpy as np
import torch
from pytorch_metric_learning import losses, miners, samplers
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch.utils.data import DataLoader, TensorDataset

import circlet

# Toy data: the class of a point shows in 4 of its 32 numbers, the rest is noise. Half of the classes are held out.
torch.manual_seed(0)
np.random.seed(0)  # noqa: NPY002 - that of MPerClassSampler
labels = torch.arange(40).repeat_interleave(10)
points = torch.cat([torch.randn(40, 4)[labels] + 0.2 * torch.randn(400, 4), torch.randn(400, 28)], dim=1)
train, test = labels < 20, labels >= 20
data = TensorDataset(points[train], labels[train])

ours = circlet.CircleLoss(margin=0.4, gamma=80.0)
theirs = losses.CircleLoss(m=0.4, gamma=80)
print(f"the same loss: {ours(points[train], labels[train]):.3f}, {theirs(points[train], labels[train]):.3f}")


def trained(loader: DataLoader, loss, miner=None) -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Linear(32, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(20):
        for batch, batch_labels in loader:
            embeddings = model(batch)
            if miner is not None:  # it names pairs; a circlet loss takes the samples that are in any of them
                used = torch.cat([*miner(embeddings, batch_labels)]).unique()
                embeddings, batch_labels = embeddings[used], batch_labels[used]
            value = loss(embeddings, batch_labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return model


# Our loss in their batches, on what their miner picks.
sampler = samplers.MPerClassSampler(labels[train], m=5, batch_size=50, length_before_new_iter=200)
first = trained(DataLoader(data, batch_size=50, sampler=sampler), ours, miners.MultiSimilarityMiner(epsilon=0.1))
# Their loss in our batches.
second = trained(DataLoader(data, batch_sampler=circlet.sampling.PKSampler(labels[train], 10, 5)), theirs)

calculator = AccuracyCalculator(include=("precision_at_1", "mean_average_precision_at_r"), device=torch.device("cpu"))
as_they_are = torch.nn.Identity()
for name, model in (("untrained", as_they_are), ("ours with their miner", first), ("theirs with our sampler", second)):
    with torch.no_grad():
        embeddings = torch.nn.functional.normalize(model(points[test]))
    found = circlet.evaluate.retrieval(embeddings, labels[test])
    again = calculator.get_accuracy(embeddings, labels[test])
    print(f"{name}: Recall@1 {found.recall_at_k[1]:.4f}, MAP@R {found.map_at_r:.4f}; by AccuracyCalculator "
          f"{again['precision_at_1']:.4f}, {again['mean_average_precision_at_r']:.4f}")  # fmt: skip
