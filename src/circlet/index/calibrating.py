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
    drawn = draw(store.items())
    number: dict[str, int] = {}
    labels = torch.tensor([number.setdefault(item.label, len(number)) for item in drawn])
    if len(number) < LEAST_CLASSES:
        raise ValueError(f"{store.location}: found {len(number)} classes, expected at least {LEAST_CLASSES} to choose "
                         "a threshold on")  # fmt: skip
    names = [item.name for item in drawn]
    rows = np.concatenate([store.vectors(names[i : i + _AT_ONCE]) for i in range(0, len(names), _AT_ONCE)])
    found = choose_thresholds(torch.from_numpy(rows), labels, fpirs=tuple(fpirs), fars=tuple(fars))
    return found, f"{len(number):,} classes of the index itself"


def draw(items: Sequence[Item], most: int = MOST) -> list[Item]:
    """Those with a class; of more than `most`, whole classes drawn by lot, up to that number."""
    by_class: dict[str, list[Item]] = {}
    for item in items:
        if item.label:
            by_class.setdefault(item.label, []).append(item)
    classes = list(by_class.values())
    if sum(map(len, classes)) > most:
        classes = [classes[i] for i in np.random.default_rng(0).permutation(len(classes))]
        total = np.cumsum(list(map(len, classes)))
        classes = classes[: max(LEAST_CLASSES, int((total <= most).sum()))]
    return [item for each in classes for item in each]


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
