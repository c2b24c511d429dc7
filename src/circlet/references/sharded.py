r"""Class weights spread over the ranks: classes beyond the memory of one device, and sampling of negatives.

Each rank holds the weights of a range of classes and meets all anchors of the global batch with them; see `ranks`
for how the log-sum-exps merge, and for the gradients.
"""

import torch
from torch import Tensor, nn

from circlet.distributed import Group, num_ranks, rank_in
from circlet.references.checks import allocate, check_range, check_rows, check_sizes
from circlet.references.ranks import GlobalBatch
from circlet.similarity import Pairs


class ShardedClassWeights(nn.Module):
    r"""One learned reference for each class, or several, as `ClassWeights`; every rank holds a range of classes.

    >>> classes = ShardedClassWeights(num_classes=10, embedding_dim=4)
    >>> classes.weight.shape
    torch.Size([10, 4])

    `weight` is a DTensor parameter (num_classes, embedding_dim) with placement Shard(0): num_classes / num_ranks rows
    on each rank, rounded up, so that the last ranks may hold fewer or none. torch.distributed.checkpoint saves it and
    loads it on any other number of ranks. Without a process group or with one rank it is a plain parameter.

    centers: references of each class, all on the same rank; with several the weight is (num_classes, centers,
    embedding_dim).

    On every rank call `loss(embeddings, labels, classes)` (or [classes, AllRanks()] and so on) and backward. Loss and
    gradients are those of one process with the batches of all ranks and all classes; more at `AllRanks`. Keep this
    module out of DistributedDataParallel: its gradient is local and complete. Give it a parameter group of its own.

    sample_rate: at each training step compare with only this share of the own classes, those of the batch first and
    the rest at random (An et al. 2021, Partial FC): saves time, and the memory of similarities. It is biased: the
    log-sum-exp of the negatives is lower by -log(sample_rate) where many negatives share it, as if the margin were
    smaller by -log(sample_rate) / gamma, and by more where a few hard ones do, which are mostly not met. (Untrained,
    20,000 classes, rate 0.1: 2.3 for NormFace at gamma 16, 4.3 at 64, 14.6 for Circle at 256; -log(0.1) is 2.3.)
    1.0, the default, and evaluation mode are exact.
    process_group: default: all ranks. device: where the parameter is made; it cannot move to another kind later.
    Raises MemoryError if the own shard does not fit.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        centers: int = 1,
        sample_rate: float = 1.0,
        process_group: Group = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_sizes(num_classes=num_classes, embedding_dim=embedding_dim, centers=centers)
        if not 0 < sample_rate <= 1:
            raise ValueError(f"sample_rate: found {sample_rate}, expected above 0 and at most 1")
        self.num_classes, self.embedding_dim, self.centers = num_classes, embedding_dim, centers
        self.sample_rate, self.process_group = sample_rate, process_group
        ranks, rank = num_ranks(process_group), rank_in(process_group)
        rows = -(-num_classes // ranks)
        # Own classes: [first, last).
        self.first, self.last = min(rank * rows, num_classes), min((rank + 1) * rows, num_classes)
        own = allocate("num_classes", (self.last - self.first) * centers, embedding_dim, None, device)
        own = own if centers == 1 else own.view(self.last - self.first, centers, embedding_dim)
        self.weight = nn.Parameter(own if ranks == 1 else _sharded(own, num_classes, process_group))
        self.reset_parameters()

    @property
    def own_weight(self) -> Tensor:
        """(references of this rank, embedding_dim), of classes `first` to `last` - 1; gradients flow to `weight`."""
        own: Tensor = self.weight
        if num_ranks(self.process_group) > 1:
            own = self.weight.to_local()  # type: ignore[attr-defined]
        return own if self.centers == 1 else own.flatten(0, 1)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew: other numbers on each rank, even if the ranks have the same seed."""
        own = self.own_weight
        seed = int(torch.randint(2**62, ())) + rank_in(self.process_group)
        nn.init.normal_(own, std=own.shape[1] ** -0.5, generator=torch.Generator(own.device).manual_seed(seed))

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Embeddings as wide as the weights, labels in 0..num_classes-1."""
        check_rows("embeddings", embeddings, self.embedding_dim, "the class weights")
        check_range(labels, self.num_classes)

    def pairs(self, batch: GlobalBatch) -> list[Pairs]:
        """All anchors of the global batch against the own classes, or a sample of them."""
        labels, own = batch.all_labels, self.own_weight
        classes = torch.arange(self.first, self.last, device=labels.device)
        if self.training and self.sample_rate < 1:
            chosen = self._sample(labels)
            classes = classes[chosen]
            own = own.view(self.last - self.first, self.centers, self.embedding_dim)[chosen].flatten(0, 1)
        if self.centers > 1:
            classes = classes.repeat_interleave(self.centers)
        return [Pairs(batch.all_embeddings, own, labels, classes)]

    def _sample(self, labels: Tensor) -> Tensor:
        """The own classes that a step meets, sorted and counted from 0: all that the labels need, filled up to the
        sample rate at random.
        """
        priority = torch.rand(self.last - self.first, device=labels.device)
        needed = labels[(labels >= self.first) & (labels < self.last)].unique() - self.first
        priority[needed] = 2.0
        number = max(round(self.sample_rate * len(priority)), len(needed))
        return priority.topk(number).indices.sort().values

    def extra_repr(self) -> str:
        """Sizes, for print(module)."""
        sizes = f"num_classes={self.num_classes}, embedding_dim={self.embedding_dim}"
        centers = "" if self.centers == 1 else f", centers={self.centers}"
        return f"{sizes}{centers}, sample_rate={self.sample_rate}"


def _sharded(own: Tensor, num_classes: int, group: Group) -> Tensor:
    import torch.distributed as dist
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard  # Takes seconds to import.

    mesh = DeviceMesh.from_group(group or dist.group.WORLD, own.device.type)  # type: ignore[arg-type]
    shape = torch.Size([num_classes, *own.shape[1:]])
    return DTensor.from_local(own, mesh, [Shard(0)], run_check=False, shape=shape, stride=own.stride())
