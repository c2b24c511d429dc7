"""What a loss is made of: the `Form` behind a loss module, its scales and its decision boundary.

A loss module keeps only a function and its numbers; to see *why* it pulls where it pulls one needs the rule and the
aggregate inside. The table here repeats that of circlet.functional; tests hold each row against its function.
"""

from collections.abc import Callable

from torch import Tensor

from circlet import aggregate
from circlet import functional as F
from circlet.functional import Form
from circlet.losses import PairLoss
from circlet.rules import AngularMargin, Circle, ConstantMargin, TwoScales


def _constant(margin: float, gamma: float) -> Form:
    return Form(ConstantMargin(margin, gamma))


_FORMS: dict[Callable[..., Tensor], Callable[..., Form]] = {
    F.circle_loss: lambda margin, gamma: Form(Circle(margin, gamma)),
    F.unified_loss: _constant,
    F.am_softmax_loss: _constant,
    F.arcface_loss: lambda margin, gamma: Form(AngularMargin(margin, gamma)),
    F.normface_loss: lambda gamma: _constant(0.0, gamma),
    F.info_nce_loss: lambda temperature: _constant(0.0, 1.0 / temperature),
    F.softmax_loss: lambda: Form(ConstantMargin(0.0, 1.0), normalize=False),
    F.n_pair_loss: lambda: Form(ConstantMargin(0.0, 1.0), normalize=False),
    F.lifted_structure_loss: lambda margin, gamma: Form(ConstantMargin(margin, gamma), aggregate.hinge),
    F.triplet_loss: lambda margin: Form(ConstantMargin(margin, 1.0), aggregate.hinge, statistic="max"),
    F.multi_similarity_loss: lambda alpha, beta, base: Form(TwoScales(alpha, beta, base), _separate(alpha, beta)),
}


def form_of(loss: PairLoss) -> Form:
    """Rule, aggregate, similarity and statistic of a loss of the family; ValueError for a loss of another family.

    >>> from circlet import CircleLoss
    >>> form_of(CircleLoss(margin=0.4, gamma=80.0)).rule
    Circle(margin=0.4, gamma=80.0)
    """
    if loss.function not in _FORMS:
        known = ", ".join(function.__name__ for function in _FORMS)
        raise ValueError(f"loss: found {loss}, expected one made of {known}")
    return _FORMS[loss.function](**loss.hyper_parameters)


def scales(form: Form) -> tuple[float, float]:
    """What the slopes of positives and of negatives are measured in: gamma for both, or Multi-Similarity's two.

    The weights alpha_p and alpha_n of any loss are its slopes in these units: for Circle those of Eq. 5, for a
    constant margin 1.
    """
    if isinstance(form.rule, TwoScales):
        return form.rule.alpha, form.rule.beta
    assert isinstance(form.rule, Circle | ConstantMargin | AngularMargin)
    return form.rule.gamma, form.rule.gamma


def decision(form: Form, s_n: Tensor, s_p: Tensor) -> Tensor:
    """Below 0 where a pair of similarities is past the decision boundary, 0 on it; in logits.

    The boundary is where the logits of one positive and one negative cancel: s_p - s_n = m for a constant margin,
    the circle of Eq. 7 for Circle loss. Multi-Similarity does not couple them: there both must be past `base`.
    """
    pos, neg = form.rule.positive(s_p), form.rule.negative(s_n)
    return pos.maximum(neg) if isinstance(form.rule, TwoScales) else pos + neg


def past(form: Form, logits: Tensor, opposite: Tensor) -> Tensor:
    """Whether pairs of one side are past the decision boundary together with an `opposite` logit of the other side.

    With Multi-Similarity, which does not couple them, whether they are past `base` themselves.
    """
    return logits < (0 if isinstance(form.rule, TwoScales) else -opposite)


def _separate(alpha: float, beta: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda pos, neg: aggregate.separate_softplus(pos, neg, alpha=alpha, beta=beta)
