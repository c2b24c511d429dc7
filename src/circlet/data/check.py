"""Whether a data set on disk is whole: it can be read, has as much of everything as was published, and images open.

Pictures of your own that stand under two labels are told of too (`circlet.data.copies`).

Images are sampled: a set of millions is checked in seconds. Nothing is repaired.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from circlet.data.catalogue import find_data_set
from circlet.data.copies import settled
from circlet.data.data_set import DataSet, Loaded
from circlet.data.decode import decode
from circlet.data.evaluation_sets import FacePairs, Identification, Templates, VideoPairs
from circlet.data.images import DataError, ImageSet, Splits


def check_data_set(
    source: str | DataSet,
    path: str | Path | None,
    *,
    counts: Mapping[str, int] | None = None,
    sample: int = 100,
    seed: int = 0,
    progress: bool = True,
) -> list[str]:
    """All that is wrong with a set, one of ours by name or your own, at `path`, a line each; empty if nothing is.

    >>> check_data_set("glyphs", None, sample=3)
    []

    `counts`: those to find, of `count`; the published ones where None. `sample` images of each role are decoded, drawn
    by `seed`, with a progress bar on a terminal.
    """
    if sample < 0:
        raise ValueError(f"sample: found {sample}, expected at least 0")
    entry = find_data_set(source)
    try:
        loaded = entry.open(path)
        if isinstance(loaded, Splits) and not entry.counts:
            settled(loaded, entry.place(path))
    except DataError as error:
        return [str(error)]
    found = count(loaded)
    expected = entry.counts if counts is None else counts
    problems = [
        f"{path}: found {found.get(what, 0)} {what}, expected {number}"
        for what, number in expected.items()
        if found.get(what, 0) != number
    ]
    return problems + _unreadable(loaded, sample, seed, progress)


def image_sets(loaded: Loaded) -> dict[str, ImageSet]:
    """The image sets of a data set by role."""
    if isinstance(loaded, Splits):
        sets = {"train": loaded.train, "query": loaded.query}
        return sets if loaded.gallery is None else {**sets, "gallery": loaded.gallery}
    if isinstance(loaded, VideoPairs):
        return {"frame": loaded.frames}
    if isinstance(loaded, Identification):
        return {"probe": loaded.probes, "distractor": loaded.distractors}
    return {"face": loaded.images}


def count(loaded: Loaded) -> dict[str, int]:
    """How many images and classes there are in each role and in all; and pairs, those of the same person, folds.

    >>> from circlet.data import glyphs
    >>> count(glyphs())["query classes"]
    108
    """
    sets = image_sets(loaded)
    counts = {f"{role} images": len(images) for role, images in sets.items()}
    counts |= {f"{role} classes": images.num_classes for role, images in sets.items()}
    counts["images"] = sum(map(len, sets.values()))
    counts["classes"] = len({name for images in sets.values() for name in images.class_names})
    if isinstance(loaded, FacePairs | VideoPairs | Templates):
        counts |= {"pairs": len(loaded.pairs), "same pairs": int(loaded.is_same.sum())}
    if isinstance(loaded, FacePairs | VideoPairs):
        counts["folds"] = loaded.num_folds
    if isinstance(loaded, Templates):
        counts["templates"] = loaded.images.num_classes
    return counts


def _unreadable(loaded: Loaded, sample: int, seed: int, progress: bool) -> list[str]:
    """Why images of the sample cannot be decoded."""
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    drawn = [
        (images, int(index))
        for images in image_sets(loaded).values()
        for index in np.sort(rng.choice(len(images), min(sample, len(images)), replace=False))
    ]
    problems = []
    for images, index in tqdm(drawn, desc="check", unit="image", disable=None if progress else True):
        try:
            decode(images, index, size=(1, 1))
        except DataError as error:
            problems.append(str(error))
    return problems
