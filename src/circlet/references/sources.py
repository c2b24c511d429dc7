"""Sources: what an anchor can be compared with. Here class weights; memory and ranks have files of their own."""

from typing import NamedTuple, Protocol, runtime_checkable

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
    """One learned reference for each class: the classification weights, without a bias.

    `weight` is (num_classes, embedding_dim), drawn from a normal distribution whose rows have length 1 on average.
    Losses on cosine similarity ignore the rows' lengths.

    >>> classes = ClassWeights(num_classes=10, embedding_dim=4)
    >>> classes.weight.shape
    torch.Size([10, 4])
    """

    def __init__(self, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        check_sizes(num_classes=num_classes, embedding_dim=embedding_dim)
        self.weight = nn.Parameter(allocate("num_classes", num_classes, embedding_dim, None, None))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=self.weight.shape[1] ** -0.5)

    def references(self) -> LabelledRows:
        """The weights; row i is class i."""
        return LabelledRows(self.weight)

    def extra_repr(self) -> str:
        """Sizes, for print(module)."""
        return f"num_classes={self.weight.shape[0]}, embedding_dim={self.weight.shape[1]}"
