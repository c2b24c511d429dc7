"""The objective of a run: a loss, and the references it compares with at the chosen level.

Class weights live here, beside the model, since they are thrown away after training.
"""

from typing import Literal

from torch import Tensor, nn

from circlet.losses import PairLoss
from circlet.references import ClassWeights, References

Level = Literal["pair", "class", "joint"]


class Objective(nn.Module):
    """`loss` at a level: pair-wise (the batch), class-level (class weights), or joint (both in one loss)."""

    def __init__(self, loss: PairLoss, level: Level, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.loss = loss
        self.level = level
        self.classes = None if level == "pair" else ClassWeights(num_classes, embedding_dim)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch: embeddings (batch, dim), labels (batch,) in 0..num_classes-1."""
        references: References | list[References] = [self.classes, None] if self.level == "joint" else self.classes
        loss: Tensor = self.loss(embeddings, labels, references)
        return loss
