"""The objective of a run: a loss, and the references it compares with at the chosen level.

Class weights and the memory bank live here, beside the model, since they are thrown away after training. Over several
ranks the class weights are spread over them, and the batch is that of all ranks.
"""

import torch
from torch import Tensor, nn

from circlet.distributed import num_ranks
from circlet.losses import Level, PairLoss
from circlet.references import AllRanks, ClassWeights, MemoryBank, References, ShardedClassWeights


class Objective(nn.Module):
    """`loss` at a level: pair-wise (the batch), class-level (class weights), or joint (both in one loss).

    memory: rows of a memory bank that joins the references; 0: none.
    sample: share of the class weights that a step compares with, drawn anew each time; see `ShardedClassWeights`.
    centers: class weights of each class; 0: as many as the loss is made for.
    device: where class weights over several ranks are made, and stay. Create it after the process group.
    """

    def __init__(
        self,
        loss: PairLoss,
        level: Level,
        num_classes: int,
        embedding_dim: int,
        *,
        memory: int = 0,
        sample: float = 1.0,
        centers: int = 0,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.level = level
        self.classes: ClassWeights | ShardedClassWeights | None = None
        centers = centers or loss.num_centers
        if level != "pair":
            if num_ranks(None) > 1 or sample < 1:
                self.classes = ShardedClassWeights(
                    num_classes, embedding_dim, centers=centers, sample_rate=sample, device=device
                )
            else:
                self.classes = ClassWeights(num_classes, embedding_dim, centers=centers)
        self.bank = MemoryBank(memory, embedding_dim) if memory else None

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch: embeddings (batch, dim), labels (batch,) in 0..num_classes-1."""
        sources = self.sources()
        loss: Tensor = self.loss(embeddings, labels, sources if len(sources) > 1 else sources[0])
        return loss

    def sources(self) -> list[References]:
        """What the batch is compared with: class weights, batch, memory."""
        sources: list[References] = [] if self.classes is None else [self.classes]
        if self.level != "class":
            sources.append(AllRanks() if num_ranks(None) > 1 else None)
        return sources if self.bank is None else [*sources, self.bank]

    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Put a batch into the memory bank, if there is one; after the backward pass. Over ranks it is collective."""
        if self.bank is not None:
            self.bank.update(embeddings, labels)
