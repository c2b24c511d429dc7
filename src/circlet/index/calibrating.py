"""Thresholds out of an index itself: each of its classes in turn is taken for unknown, and the others for enrolled."""

from collections.abc import Sequence

import numpy as np
import torch

from circlet.evaluate.thresholds import Thresholds, choose_thresholds
from circlet.index.settings import ModelMark, Settings
from circlet.vectors import Item, Store

MOST = 10_000  # images: every two of them are compared
LEAST_CLASSES = 3
FPIRS, FARS = (0.1, 0.01), (1e-2, 1e-3, 1e-4)
_AT_ONCE = 4096


def chosen_thresholds(store: Store, fpirs: Sequence[float], fars: Sequence[float]) -> tuple[Thresholds, str]:
    """The thresholds, and which classes they were chosen on, in words; ValueError where there are too few."""
    drawn = draw(without_copies(store.items()))
    number: dict[str, int] = {}
    labels = torch.tensor([number.setdefault(item.label, len(number)) for item in drawn])
    if len(number) < LEAST_CLASSES:
        raise ValueError(f"{store.location}: found {len(number)} classes, expected at least {LEAST_CLASSES} to choose "
                         "a threshold on")  # fmt: skip
    names = [item.name for item in drawn]
    rows = np.concatenate([store.vectors(names[i : i + _AT_ONCE]) for i in range(0, len(names), _AT_ONCE)])
    found = choose_thresholds(torch.from_numpy(rows), labels, fpirs=tuple(fpirs), fars=tuple(fars))
    return found, f"{len(number):,} classes of the index itself"


def without_copies(items: Sequence[Item]) -> list[Item]:
    """Those with a class whose content is under that alone, of equal ones the first; those without a digest stay.

    >>> without_copies([Item("1", "a", "0f"), Item("2", "a", "0f"), Item("3", "a", "1f"), Item("4", "b", "1f")])
    [Item(name='1', label='a', content='0f')]

    An image that is under two classes is like a stranger that is known, and one with a copy in its class is found by
    that: either would tell of copies and not of the model.
    """
    items = [item for item in items if item.label]
    labels: dict[str, set[str]] = {}
    for item in items:
        labels.setdefault(item.content, set()).add(item.label)
    first = {item.content: item.name for item in reversed(items)}
    return [
        item
        for item in items
        if not item.content or (len(labels[item.content]) == 1 and first[item.content] == item.name)
    ]


def draw(items: Sequence[Item], most: int = MOST) -> list[Item]:
    """Those with a class; of more than `most`, whole classes drawn by lot as far as they fit into that number.

    Of a class that is more than a tenth of it, so many images are drawn: one large class takes no room from the others.
    """
    by_class: dict[str, list[Item]] = {}
    for item in items:
        if item.label:
            by_class.setdefault(item.label, []).append(item)
    classes = list(by_class.values())
    if sum(map(len, classes)) <= most:
        return [item for each in classes for item in each]
    rng, drawn, largest = np.random.default_rng(0), list[Item](), max(most // 10, 2)
    for place in rng.permutation(len(classes)).tolist():
        one = classes[place]
        if len(one) > largest:
            one = [one[i] for i in np.sort(rng.choice(len(one), largest, replace=False)).tolist()]
        if len(drawn) + len(one) <= most:
            drawn += one
    return drawn


def require_unseen(mark: ModelMark, *, unseen: bool) -> None:
    """ValueError for a model that was trained, perhaps on these very classes, unless somebody says that it was not."""
    if mark.trained and not unseen:
        raise ValueError(f"unseen: found False for {mark.name}, which was trained: thresholds that are chosen on "
                         "classes that it was trained on promise too much; expected True if it has seen none of "
                         "these")  # fmt: skip


def told(settings: Settings) -> str:
    """A sentence about the thresholds of an index."""
    if settings.thresholds is None:
        return f"thresholds: none: {settings.model.name} was trained, and its run has none; identify needs --threshold"
    return f"thresholds: chosen on {settings.chosen_on}"
