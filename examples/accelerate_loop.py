"""Accelerate: Circle loss in a loop over one process or many, with the batch of all of them.

Run:     python examples/accelerate_loop.py      (pip install accelerate; or accelerate launch --cpu --num_processes 2)
Prints:  the loss at the end of each epoch, and MAP@R on classes never trained on, before and after.

The loader is not prepared: PKSampler gives each process whole classes of every batch, and circlet.AllRanks lets the
loss see the embeddings of all of them; loss and gradient are those of one process with the whole batch.
"""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

import circlet

accelerator = Accelerator()
rank, num_ranks = accelerator.process_index, accelerator.num_processes

# Toy data: the class of a point shows in 4 of its 32 numbers, the rest is noise. Half of the classes are held out.
torch.manual_seed(0)
labels = torch.arange(40).repeat_interleave(10)
points = torch.cat([torch.randn(40, 4)[labels] + 0.2 * torch.randn(400, 4), torch.randn(400, 28)], dim=1)
train, test = labels < 20, labels >= 20

sampler = circlet.sampling.PKSampler(labels[train], 10, 5, rank=rank, num_ranks=num_ranks)
loader = DataLoader(TensorDataset(points[train], labels[train]), batch_sampler=sampler)
model = torch.nn.Linear(32, 8)
loss = circlet.CircleLoss(margin=0.4, gamma=32.0)
model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=0.01))
references = circlet.AllRanks() if num_ranks > 1 else None


@torch.no_grad()
def show_metrics() -> None:
    embeddings = accelerator.unwrap_model(model)(points[test].to(accelerator.device)).cpu()
    accelerator.print(f"held-out classes: MAP@R {circlet.evaluate.retrieval(embeddings, labels[test]).map_at_r:.3f}")


show_metrics()
for epoch in range(1, 6):
    for batch, batch_labels in loader:
        with accelerator.autocast():
            embeddings = model(batch.to(accelerator.device))
        value = loss(embeddings, batch_labels.to(accelerator.device), references)
        optimizer.zero_grad()
        accelerator.backward(value)
        optimizer.step()
    accelerator.print(f"epoch {epoch}: loss {value.item():.3f}")
show_metrics()
accelerator.end_training()
