"""One loss over several processes, exactly that of one process with the whole batch; class weights spread over them.

Run:     torchrun --nproc-per-node 2 examples/ddp.py      (on CPUs, by gloo; python examples/ddp.py: one process)
Prints:  the loss every 20 steps, which is the same for any number of processes that divides P.

Each process has its part of every batch. The references of the loss are the class weights and the embeddings of all
processes. DDP averages the gradients of the model; those of a shard of class weights are whole and stay out of DDP.
"""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import circlet

if "RANK" in os.environ:  # set by torchrun
    dist.init_process_group("gloo")
rank, num_ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

# Toy data: the class of a point shows in 4 of its 32 numbers, the rest is noise. Every process makes the same.
torch.manual_seed(0)
labels = torch.arange(40).repeat_interleave(10)
points = torch.cat([torch.randn(40, 4)[labels] + 0.2 * torch.randn(400, 4), torch.randn(400, 28)], dim=1)

# P = 8 classes in a batch, of all processes together: each has whole classes of it.
sampler = circlet.sampling.PKSampler(labels, 8, 5, rank=rank, num_ranks=num_ranks)
loader = DataLoader(TensorDataset(points, labels), batch_sampler=sampler)

model = torch.nn.Linear(32, 8)
if num_ranks > 1:
    model = DistributedDataParallel(model)
classes = circlet.ShardedClassWeights(num_classes=40, embedding_dim=8)
with torch.no_grad():  # their own first values depend on the process; these do not, so that runs can be compared
    classes.own_weight.copy_(torch.randn(40, 8)[classes.first : classes.last])
loss = circlet.CircleLoss(margin=0.25, gamma=32.0)
optimizer = torch.optim.Adam([{"params": model.parameters()}, {"params": classes.parameters(), "lr": 0.1}], lr=0.01)

step = 0
while step < 100:
    for points, labels in loader:
        value = loss(model(points), labels, [classes, circlet.AllRanks()])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        step += 1
        if step % 20 == 0 and rank == 0:
            print(f"step {step}: loss {value.item():.4f}")
if num_ranks > 1:
    dist.destroy_process_group()
