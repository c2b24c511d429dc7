r"""Rules: how one similarity becomes a logit, for a positive and for a negative.

A rule is the middle one of the three choices that make a loss (source x rule x aggregate). The aggregates take
the log-sum-exp of these logits, so a *large* positive logit means a positive that is still too *dissimilar*:

    L_uni (Eq. 1) = softplus( lse_j negative(s_n^j) + lse_i positive(s_p^i) )

| rule           | positive(s)                              | negative(s)                | source           |
|----------------|------------------------------------------|----------------------------|------------------|
| Circle         | -gamma [1+m-s]+ (s - (1-m))              | gamma [s+m]+ (s - m)       | Eq. 4 to 6, 8    |
| ConstantMargin | -gamma (s - m)                           | gamma s                    | Eq. 1 and 2      |
| AngularMargin  | -gamma cos(arccos s + m)                 | gamma s                    | ArcFace, Eq. 3   |
| TwoScales      | -alpha (s - base)                        | beta (s - base)            | Multi-Similarity |
| SymmetricMargin | -gamma (s - m)                          | gamma (s + m)              | Proxy-Anchor     |
| Hinges         | [m_p - s]+                               | [s - m_n]+                 | contrastive      |
| DistanceHinges | [d - beta + m]+, d = sqrt(2 - 2s)        | [beta + m - d]+            | margin loss      |
| Squares        | (1 - s)^2                                | s^2                        | P2SGrad          |

A rule of your own is a subclass of `Rule` with these two functions. Its slope d logit / d s is then found by autograd;
the rules here write it down, and a short form for the tiles beside it. Circle's weights are detached (the paper's Eq. 9
and 10), so its slope is not the derivative of its logit. Rules are elementwise and shape-free; they know nothing of
batches, labels or sums.
"""

from circlet.rules.angular_margin import AngularMargin
from circlet.rules.circle import Circle
from circlet.rules.constant_margin import ConstantMargin
from circlet.rules.hinges import DistanceHinges, Hinges
from circlet.rules.squares import Squares
from circlet.rules.symmetric_margin import SymmetricMargin
from circlet.rules.two_scales import TwoScales
from circlet.similarity.pairs import Rule

__all__ = [
    "AngularMargin",
    "Circle",
    "ConstantMargin",
    "DistanceHinges",
    "Hinges",
    "Rule",
    "Squares",
    "SymmetricMargin",
    "TwoScales",
]
