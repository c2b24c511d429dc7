"""The explorer: one static HTML page to drag a pair of similarities about and see what each loss does to it.

    offered.py     what the page knows of each loss, from the loss's own definition
    follows.py     how the numbers of a rule follow from the hyper-parameters of a loss
    sliders.py     the sliders of hyper-parameters
    losses.js      rules and aggregates at one positive and one negative (tests hold them against autograd)
    explorer.js    the page's behaviour: controls, plane, trajectory
    explorer.css   light and dark, down to 360 px
    explorer.html  what the page says

The page needs no network and no server. It knows no loss by name: those of `circlet.losses` are written into it.
"""

from dataclasses import asdict

from circlet.losses import CircleLoss, PairLoss, all_losses
from circlet.pages import page
from circlet.report.explorer.offered import LeftOut, Offered, offer


def build_explorer() -> str:
    """The page as text.

    >>> build_explorer().startswith("<!doctype html>")
    True
    """
    found = [offer(loss) for loss in sorted(all_losses().values(), key=_place)]
    offered = [loss for loss in found if isinstance(loss, Offered)]
    reasons: dict[str, list[str]] = {}
    for loss in found:
        if isinstance(loss, LeftOut):
            reasons.setdefault(loss.reason, []).append(loss.title)
    return page(
        "report/explorer/explorer.html",
        "circlet: what a loss does to a pair of similarities",
        styles=("pages/palette.css", "report/explorer/explorer.css"),
        scripts=("report/explorer/losses.js", "report/explorer/explorer.js"),
        data={"losses": [asdict(loss) for loss in offered]},
        choices=offered,
        left_out=reasons,
    )


def _place(loss: type[PairLoss]) -> tuple[bool, str]:
    """The library's own loss first, then by title."""
    return loss is not CircleLoss, loss.title.casefold()
