"""The table of the losses, from their definitions: what each is made of, what it is made for, how it is computed."""

from typing import NamedTuple

from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.similarity import Rule


class Row(NamedTuple):
    """One loss in words."""

    loss: str
    similarity: str
    rule: str
    statistics: str
    aggregate: str
    level: str
    computed: str


def row(loss: type[PairLoss]) -> Row:
    """What a loss is made of, with its default numbers.

    >>> from circlet import CircleLoss
    >>> row(CircleLoss)[1:]
    ('cosine', 'Circle', 'logsumexp, logsumexp', 'softplus', 'either', 'in tiles')
    """
    form = loss().form()
    names = ", ".join((loss.__name__, *loss.aliases))
    similarity = "cosine" if form.normalize else "inner product"
    if form.within_class is not None:
        similarity += " to a class"
    rule = type(form.rule).__name__ + ("" if isinstance(form.rule, Rule) else " (by row)")
    level = {"pair": "the batch", "class": "class weights"}.get(loss.level, loss.level)
    if len(loss.paper_settings) > 1:
        level = "either"
    computed = "in tiles" if form.is_streamed else "in blocks of anchors"
    return Row(names, similarity, rule, _statistics(form), _aggregate(form), level, computed)


def markdown(losses: list[type[PairLoss]]) -> str:
    """The rows as a Markdown table."""
    head = ("loss", "similarity", "rule", "positives, negatives", "aggregate", "usually compared with", "computed")
    lines = [head, ("---",) * len(head), *(_cells(row(loss)) for loss in losses)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(found: Row) -> tuple[str, ...]:
    first, *others = found.loss.split(", ")
    named = f"`{first}`" + "".join(f" (`{other}`)" for other in others)
    return (named, *found[1:])


def _statistics(form: Form) -> str:
    words = f"{form.positives}, {form.negatives}"
    if form.contrast == "all":
        words += " of all pairs"
    return words + (", references are the anchors" if form.anchors == "references" else "")


def _aggregate(form: Form) -> str:
    name: str = getattr(form.aggregate, "__name__", type(form.aggregate).__name__)
    return name + (" + penalty" if form.penalty is not None else "")
