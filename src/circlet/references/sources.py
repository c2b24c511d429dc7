"""Sources: what an anchor can be compared with. Here class weights; memory and ranks have files of their own."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from circlet.references.checks import allocate, check_sizes
from circlet.references.ranks import SpreadSource


class LabelledRows(NamedTuple):
    """References (num_references, dim) with integer labels (num_references,); labels None: row i is class i."""

    embeddings: Tensor
    labels: Tensor | None = None


@runtime_checkable
class Source(Protocol):
    """Anything that holds references: class weights, a memory bank."""

    def references(self) -> LabelledRows:
        """The references to compare with now."""


# One source: a tensor (row i is class i), a (tensor, labels) pair, a `Source`, a `SpreadSource` (of which each rank
# holds a part), or None for the batch itself.
References = Tensor | tuple[Tensor, Tensor] | Source | SpreadSource | None


class ClassWeights(nn.Module):
    """One learned reference for each class, or several: the classification weights, without a bias.

    >>> classes = ClassWeights(num_classes=10, embedding_dim=4)
    >>> classes.weight.shape
    torch.Size([10, 4])

    `weight` is (num_classes * centers, embedding_dim), the centres of a class one after the other, drawn from a normal
    distribution whose rows have length 1 on average. Losses on cosine similarity ignore the rows' lengths.

    centers: references of each class. Losses that are made for several say how many (`PairLoss.num_centers`); to all
        others they are several positives, or negatives.
    """

    def __init__(self, num_classes: int, embedding_dim: int, *, centers: int = 1) -> None:
        super().__init__()
        check_sizes(num_classes=num_classes, embedding_dim=embedding_dim, centers=centers)
        self.num_classes, self.centers = num_classes, centers
        self.weight = nn.Parameter(allocate("num_classes", num_classes * centers, embedding_dim, None, None))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=self.weight.shape[1] ** -0.5)

    def references(self) -> LabelledRows:
        """The weights; row i is class i, or with several centres class i // centers."""
        if self.centers == 1:
            return LabelledRows(self.weight)
        classes = torch.arange(self.num_classes, device=self.weight.device)
        return LabelledRows(self.weight, classes.repeat_interleave(self.centers))

    def extra_repr(self) -> str:
        """Sizes, for print(module)."""
        sizes = f"num_classes={self.num_classes}, embedding_dim={self.weight.shape[1]}"
        return sizes if self.centers == 1 else f"{sizes}, centers={self.centers}"
