"""The decision boundary of a loss: where a pair of similarities stops being wrong for it.

The boundary is where the logits of one positive and one negative cancel: s_p - s_n = m for a constant margin, the
circle of Eq. 7 for Circle loss. A loss that does not couple its sides (Multi-Similarity) has a boundary for each, where
the logit is 0; past it a hinge stays 0. It is the same whether the negatives are contrasted alone or together with the
positives.
"""

import torch
from torch import Tensor

from circlet.aggregate import is_coupled
from circlet.losses import Form, Rows
from circlet.similarity import Rule


def decision(form: Form, s_n: Tensor, s_p: Tensor, rule: Rule | None = None) -> Tensor:
    """0 or below where a pair of similarities is past the decision boundary or on it; in logits.

    rule: of these anchors, where it differs from anchor to anchor; by default that of anchors of length 1 whose
    least similar positive is `s_p`.
    """
    rule = rule_of_pairs(form, s_p) if rule is None else rule
    pos, neg = rule.positive(s_p), rule.negative(s_n)
    return pos + neg if is_coupled(form.aggregate) else pos.maximum(neg)


def rule_of_pairs(form: Form, s_p: Tensor) -> Rule:
    """The rule of anchors of length 1 with one positive each, at `s_p`."""
    if isinstance(form.rule, Rule):
        return form.rule
    return form.rule.for_rows(Rows(torch.ones_like(s_p), s_p))


def is_past(form: Form, logits: Tensor, opposite: Tensor) -> Tensor:
    """Whether pairs of one side are past the decision boundary together with an `opposite` logit of the other side.

    With a loss that does not couple its sides, whether they are past their own.
    """
    return logits <= (-opposite if is_coupled(form.aggregate) else 0)
