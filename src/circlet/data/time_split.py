"""Splits at a moment: trained on what was before, tested on what came after."""

import warnings

import numpy as np

from circlet.data.images import DataError, ImageSet, Splits
from circlet.data.times import parse_time

_SHOWN = 3


def split_by_time(images: ImageSet, at: float | str, *, closed_set: bool = False) -> Splits:
    """Train on the images before a moment, test on those from then on; every test image searches all the others.

    >>> from circlet.data import FileReader
    >>> images = ImageSet.from_classes(
    ...     list("aabb"), list("1234"), FileReader("photos", ()), times=[10, 30, 20, 40], groups=[0, 1, 2, 3]
    ... )
    >>> splits = split_by_time(images, 0.5, closed_set=True)
    >>> splits.train.names, splits.query.names
    (('1', '3'), ('2', '4'))

    at: a share in (0, 1): the moment before which that share of the images lies (or the next share possible, since
    images of one moment stay together); or the moment itself, as text (`circlet.data.times`).
    closed_set: the test has all images after the moment, of classes trained on as well. Otherwise it has unseen
    classes alone: those without any image before the moment; the later images of the others are left out.

    A group that straddles the moment goes to the earlier side, whole, with a warning. DataError without times, where
    no image lies on a side, and where no class begins after the moment (without closed_set).
    """
    if images.times is None:
        raise DataError("time_split: found images without times, expected a time for each (column time)")
    moment, said = _moment(images, at)
    is_before = images.times < moment
    if images.groups is not None:
        is_early = np.isin(images.groups, images.groups[is_before])
        moved = np.flatnonzero(is_early & ~is_before)
        if moved.size:
            names = ", ".join(images.names[index] for index in moved[:_SHOWN]) + (", ..." * (moved.size > _SHOWN))
            groups = len(np.unique(images.groups[moved]))
            which = f"{groups} groups have" if groups > 1 else "1 group has"
            warnings.warn(
                f"time_split: {which} images on both sides of {said}; those after it ({moved.size} in all: {names}) "
                "went to the training images, since a group is never cut",
                stacklevel=2,
            )
        is_before = is_early
    is_after = ~is_before
    if is_before.all() or is_after.all():
        side = "before" if is_after.all() else "after"
        raise DataError(f"time_split: found no image {side} {said}, expected some on either side")
    if not closed_set:
        is_seen = np.zeros(images.num_classes, dtype=np.bool_)
        is_seen[images.labels[is_before]] = True
        is_after &= ~is_seen[images.labels]
        if not is_after.any():
            raise DataError(f"time_split: found all {images.num_classes} classes before {said}, expected some that "
                            "begin after it; closed_set=True tests on classes trained on")  # fmt: skip
    return Splits(images.subset(np.flatnonzero(is_before)), images.subset(np.flatnonzero(is_after)), None, closed_set)


def _moment(images: ImageSet, at: float | str) -> tuple[float, str]:
    """The moment in seconds, and in words."""
    assert images.times is not None
    if isinstance(at, str):
        try:
            return parse_time(at)[0], at.strip()
        except ValueError as error:
            raise ValueError(f"time_split: {error}, or a share in (0, 1)") from None
    if not 0 < at < 1:
        raise ValueError(f"time_split: found {at}, expected a share in (0, 1), or a moment as text")
    order = np.sort(images.times)
    at_share = order[min(max(1, round(at * len(order))), len(order) - 1)]
    if at_share == order[0]:  # nothing lies before the first moment
        later = order[order > at_share]
        if not later.size:
            raise DataError("time_split: found one moment for all images, expected different times")
        at_share = later[0]
    moment = float(at_share)
    return moment, f"the moment of {images.names[int(np.flatnonzero(images.times == moment)[0])]}"
