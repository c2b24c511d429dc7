"""The explorer: one static HTML page to drag a pair of similarities about and see what each loss does to it.

    losses.js     the losses at one positive and one negative, in plain JavaScript (tests hold it against autograd)
    explorer.js   the page's behaviour: controls, plane, trajectory
    explorer.css  light and dark, down to 360 px
    page.html     the frame that they are put into

The page needs no network and no server. Defaults of the losses are written into it from the library.
"""

import html
import json
from dataclasses import dataclass
from importlib.resources import files

from circlet import losses
from circlet.losses import PairLoss


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
    here = files(__name__)
    style, formulas, behaviour, page = (
        (here / name).read_text(encoding="utf-8") for name in ("explorer.css", "losses.js", "explorer.js", "page.html")
    )
    defaults = {choice.key: choice.loss.hyper_parameters for choice in CHOICES}
    options = "".join(f'<option value="{choice.key}">{html.escape(choice.title)}</option>' for choice in CHOICES)
    script = f"const DEFAULTS = {json.dumps(defaults)};\n{formulas}\n{behaviour}"
    for mark, text in {"/*style*/": style, "<!--options-->": options, "/*script*/": script}.items():
        page = page.replace(mark, text)
    return page
