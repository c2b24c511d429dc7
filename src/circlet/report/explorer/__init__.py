"""The explorer: one static HTML page to drag a pair of similarities about and see what each loss does to it.

    losses.js      the losses at one positive and one negative, in plain JavaScript (tests hold it against autograd)
    explorer.js    the page's behaviour: controls, plane, trajectory
    explorer.css   light and dark, down to 360 px
    explorer.html  what the page says

The page needs no network and no server. Defaults of the losses are written into it from the library.
"""

from dataclasses import dataclass

from circlet import losses
from circlet.losses import PairLoss
from circlet.pages import page


@dataclass(frozen=True)
class Choice:
    """A loss that the page offers: its key in losses.js, its name on the page, and the library's own loss."""

    key: str
    title: str
    loss: PairLoss


CHOICES = (
    Choice("circle", "Circle", losses.CircleLoss()),
    Choice("unified", "Unified (Eq. 1)", losses.UnifiedLoss()),
    Choice("am_softmax", "AM-Softmax (CosFace)", losses.AMSoftmaxLoss()),
    Choice("arcface", "ArcFace", losses.ArcFaceLoss()),
    Choice("normface", "NormFace", losses.NormFaceLoss()),
    Choice("softmax", "Softmax", losses.SoftmaxLoss()),
    Choice("n_pair", "N-pair", losses.NPairLoss()),
    Choice("info_nce", "InfoNCE", losses.InfoNCELoss()),
    Choice("triplet", "Triplet", losses.TripletLoss()),
    Choice("lifted_structure", "Lifted-Structure", losses.LiftedStructureLoss()),
    Choice("multi_similarity", "Multi-Similarity", losses.MultiSimilarityLoss()),
)


def build_explorer() -> str:
    """The page as text.

    >>> build_explorer().startswith("<!doctype html>")
    True
    """
    return page(
        "report/explorer/explorer.html",
        "circlet: what a loss does to a pair of similarities",
        styles=("pages/palette.css", "report/explorer/explorer.css"),
        scripts=("report/explorer/losses.js", "report/explorer/explorer.js"),
        data={"defaults": {choice.key: choice.loss.hyper_parameters for choice in CHOICES}},
        choices=CHOICES,
    )
