"""The losses as modules: each keeps its hyper-parameters and calls its function (see circlet.functional).

    loss = CircleLoss(margin=0.4, gamma=80.0)
    loss(embeddings, labels)                                # pair-wise labels: the other samples of the batch
    loss(embeddings, labels, references, reference_labels)  # any references
    loss(embeddings, labels, classes)                       # class-level labels: a ClassWeights or a weight tensor
    loss(embeddings, labels, [classes, None])               # joint: classes and batch in one loss

They have no parameters of their own: class weights belong to `ClassWeights`.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from circlet import functional as F
from circlet.aggregate import Reduction
from circlet.references import References
from circlet.rules import AngularMargin, Circle, ConstantMargin, TwoScales


class PairLoss(nn.Module):
    """A function of circlet.functional with its hyper-parameters; the base of every loss here."""

    def __init__(self, function: Callable[..., Tensor], reduction: Reduction, **hyper_parameters: float) -> None:
        super().__init__()
        self.function = function
        self.reduction = reduction
        self.hyper_parameters = hyper_parameters

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        references: References | list[References] = None,
        reference_labels: Tensor | None = None,
        *,
        positive_mask: Tensor | None = None,
    ) -> Tensor:
        """The loss; arguments as in circlet.functional.pair_loss."""
        return self.function(
            embeddings,
            labels,
            references,
            reference_labels,
            positive_mask=positive_mask,
            reduction=self.reduction,
            **self.hyper_parameters,
        )

    def extra_repr(self) -> str:
        """Hyper-parameters, for print(module)."""
        settings: dict[str, Any] = {**self.hyper_parameters, "reduction": self.reduction}
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())


class UnifiedLoss(PairLoss):
    """The unified loss of Eq. 1. See `circlet.functional.unified_loss`."""

    def __init__(
        self,
        margin: float = ConstantMargin.margin,
        gamma: float = ConstantMargin.gamma,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(F.unified_loss, reduction, margin=margin, gamma=gamma)


class CircleLoss(PairLoss):
    """Circle loss (Eq. 6 and 8). See `circlet.functional.circle_loss`, also for the paper's settings by task.

    >>> import torch
    >>> loss = CircleLoss(margin=0.4, gamma=80.0)
    >>> embeddings = torch.eye(4).repeat_interleave(2, dim=0).requires_grad_()
    >>> loss(embeddings, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])).backward()
    >>> loss
    CircleLoss(margin=0.4, gamma=80.0, reduction='mean')
    """

    def __init__(
        self, margin: float = Circle.margin, gamma: float = Circle.gamma, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(F.circle_loss, reduction, margin=margin, gamma=gamma)


class AMSoftmaxLoss(PairLoss):
    """AM-Softmax, also known as CosFace (Eq. 2). See `circlet.functional.am_softmax_loss`."""

    def __init__(
        self,
        margin: float = ConstantMargin.margin,
        gamma: float = ConstantMargin.gamma,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(F.am_softmax_loss, reduction, margin=margin, gamma=gamma)


CosFace = AMSoftmaxLoss


class ArcFaceLoss(PairLoss):
    """ArcFace: an angular margin, in radians. See `circlet.functional.arcface_loss`."""

    def __init__(
        self,
        margin: float = AngularMargin.margin,
        gamma: float = AngularMargin.gamma,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(F.arcface_loss, reduction, margin=margin, gamma=gamma)


class NormFaceLoss(PairLoss):
    """NormFace: scaled cosine softmax (Eq. 2, m = 0). See `circlet.functional.normface_loss`."""

    def __init__(self, gamma: float = ConstantMargin.gamma, reduction: Reduction = "mean") -> None:
        super().__init__(F.normface_loss, reduction, gamma=gamma)


class SoftmaxLoss(PairLoss):
    """Softmax cross-entropy on inner products. See `circlet.functional.softmax_loss`."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(F.softmax_loss, reduction)


class NPairLoss(PairLoss):
    """Multi-class N-pair loss on inner products. See `circlet.functional.n_pair_loss`."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(F.n_pair_loss, reduction)


class InfoNCELoss(PairLoss):
    """InfoNCE (NT-Xent). See `circlet.functional.info_nce_loss`."""

    def __init__(self, temperature: float = F.INFO_NCE_TEMPERATURE, reduction: Reduction = "mean") -> None:
        super().__init__(F.info_nce_loss, reduction, temperature=temperature)


class LiftedStructureLoss(PairLoss):
    """Lifted-Structure loss, per anchor. See `circlet.functional.lifted_structure_loss`."""

    def __init__(
        self, margin: float = F.LIFTED_MARGIN, gamma: float = ConstantMargin.gamma, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(F.lifted_structure_loss, reduction, margin=margin, gamma=gamma)


class TripletLoss(PairLoss):
    """Batch-hard triplet loss on cosine (Eq. 3). See `circlet.functional.triplet_loss`."""

    def __init__(self, margin: float = F.TRIPLET_MARGIN, reduction: Reduction = "mean") -> None:
        super().__init__(F.triplet_loss, reduction, margin=margin)


class MultiSimilarityLoss(PairLoss):
    """Multi-Similarity loss. See `circlet.functional.multi_similarity_loss`."""

    def __init__(
        self,
        alpha: float = TwoScales.alpha,
        beta: float = TwoScales.beta,
        base: float = TwoScales.base,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(F.multi_similarity_loss, reduction, alpha=alpha, beta=beta, base=base)
