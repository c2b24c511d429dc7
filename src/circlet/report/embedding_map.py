"""The embedding as a map: t-SNE of some query images (van der Maaten and Hinton, 2008), coloured by class.

At most MAX_POINTS images: of MAX_CLASSES classes drawn at random, equally many at most of each. Distances between far
points of such a map mean little. map.js shows class and picture of a point, and picks a class out; without script the
map is there without them.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from circlet.data import ImageSet
from circlet.data.thumbnails import sheet
from circlet.evaluate.checks import unit_rows
from circlet.pages import part
from circlet.report.tsne import tsne

MAX_POINTS, MAX_CLASSES = 1000, 100
MIN_POINTS = 5
SIDE, EDGE = 440, 10
COLOURS = 8
THUMBNAIL, COLUMNS = 48, 40


class MapSection(NamedTuple):
    """HTML of the section, and what map.js needs to know."""

    html: Markup
    data: dict[str, Any]


def chosen_points(labels: NDArray[np.int64], *, seed: int = 0) -> NDArray[np.int64]:
    """Indices of the images to show, grouped by class.

    >>> chosen_points(np.array([1, 0, 1])).tolist()
    [1, 0, 2]
    """
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    if len(classes) > MAX_CLASSES:
        classes = np.sort(rng.choice(classes, MAX_CLASSES, replace=False))
    most = MAX_POINTS // len(classes)
    parts = []
    for label in classes:
        own = np.flatnonzero(labels == label)
        parts.append(np.sort(rng.choice(own, most, replace=False)) if len(own) > most else own)
    return np.concatenate(parts)


def places(embeddings: Tensor) -> NDArray[np.float64] | None:
    """(n, 2) places in [0, 1] of (n, dim) embeddings; None for fewer than MIN_POINTS, or if all are equal."""
    rows = unit_rows(embeddings)
    rows = rows - rows.mean(0)
    if len(rows) < MIN_POINTS or float(rows.abs().max()) < 1e-6:
        return None
    found = tsne(rows).double().numpy()
    low, high = found.min(axis=0), found.max(axis=0)
    spread: NDArray[np.float64] = (found - low) / max(float((high - low).max()), 1e-9)
    return spread


def map_section(images: ImageSet, embeddings: Tensor) -> MapSection | None:
    """The map of a set of images and their (N, dim) embeddings; None where there is none to draw."""
    chosen = chosen_points(images.labels)
    found = places(embeddings[torch.from_numpy(chosen)].cpu())
    if found is None:
        return None
    labels = images.labels[chosen]
    classes, own = np.unique(labels, return_inverse=True)
    pixels = EDGE + found * (SIDE - 2 * EDGE)
    names = [images.class_names[label] for label in classes]
    files = [images.names[index] for index in chosen]
    section = part(
        "report/templates/map.html",
        side=SIDE,
        points=[(label % COLOURS, x, y) for label, (x, y) in zip(own.tolist(), pixels.tolist(), strict=True)],
        names=names,
        shown=len(chosen),
        all_images=len(images),
        pictures=sheet(images, chosen.tolist(), side=THUMBNAIL, columns=COLUMNS),
    )
    data = {"classes": names, "labels": own.tolist(), "files": files, "columns": COLUMNS, "side": THUMBNAIL}
    return MapSection(section, data)
