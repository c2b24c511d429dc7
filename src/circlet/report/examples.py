"""Pictures of what the embedding gets right and wrong: best and worst queries, and the classes it confuses.

A query is judged by its first neighbours, those of the survey: how much more similar the first right one is than the
first wrong one. Where there is no right (or no wrong) one among them, the last of them stands in for it.
"""

from typing import NamedTuple

import torch
from markupsafe import Markup
from torch import Tensor

from circlet.data import ImageSet
from circlet.data.thumbnails import Album
from circlet.data.vector_reader import has_vectors
from circlet.pages import part
from circlet.report.data import ReportData
from circlet.report.survey import Survey

NUM_QUERIES = 5
NUM_NEIGHBOURS = 7
NUM_CONFUSIONS = 6
NUM_PICTURES = 4


class Confusion(NamedTuple):
    """Two classes, by label, and how many queries of each have one of the other as their nearest neighbour."""

    first: int
    second: int
    first_to_second: int
    second_to_first: int


def margins(found: Survey) -> Tensor:
    """(q,) similarity of the first right neighbour less that of the first wrong one, of each query."""
    last = found.hits.shape[1] - 1
    first = [torch.where(kind.any(1), kind.int().argmax(1), last) for kind in (found.hits, ~found.hits)]
    right, wrong = (found.values.gather(1, place[:, None]).squeeze(1) for place in first)
    return right - wrong


def ranked(found: Survey, labels: Tensor, *, best: bool) -> list[int]:
    """Places in the survey of the best or worst queries, one of a class; those without any match are left out."""
    order = margins(found).argsort(descending=best, stable=True)
    chosen: dict[int, int] = {}
    for place in order[found.matched[order]].tolist():
        right = bool(found.hits[place, 0])
        if right is not best or len(chosen) == NUM_QUERIES:
            break
        chosen.setdefault(int(labels[found.queries[place]]), place)
    return list(chosen.values())


def confusions(found: Survey, query_labels: Tensor, gallery_labels: Tensor) -> list[Confusion]:
    """The pairs of classes with the most queries whose nearest neighbour is of the other, the most first."""
    own, other = query_labels[found.queries], gallery_labels[found.indices[:, 0]]
    wrong = (own != other) & found.matched
    pairs, counts = torch.stack([own[wrong], other[wrong]], dim=1).unique(dim=0, return_counts=True)
    number = {(a, b): n for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True)}
    both = {(min(a, b), max(a, b)) for a, b in number}
    listed = [Confusion(a, b, number.get((a, b), 0), number.get((b, a), 0)) for a, b in both]
    return sorted(listed, key=lambda c: (-c.first_to_second - c.second_to_first, c.first, c.second))[:NUM_CONFUSIONS]


def query_rows(run: ReportData, found: Survey, places: list[int], album: Album) -> Markup:
    """A row for each of the queries at `places` of the survey: the query, then its nearest neighbours."""
    others = run.searched()
    rows = []
    for place in places:
        index = int(found.queries[place])
        shown = [_example(album, run.query, index, "query", "query", "the query")]
        for rank in range(min(NUM_NEIGHBOURS, found.hits.shape[1])):
            neighbour, right = int(found.indices[place, rank]), bool(found.hits[place, rank])
            mark, kind = ("✓", "right") if right else ("✗", "wrong")
            text = f"{mark} {found.values[place, rank]:.2f}"
            shown.append(_example(album, others, neighbour, kind, text, f"neighbour {rank + 1}, {kind}"))
        rows.append((_class(run.query, index), shown))
    return part("report/templates/queries.html", rows=rows)


def confusion_rows(run: ReportData, found: Survey, listed: list[Confusion], album: Album) -> Markup:
    """A row for each confused pair: how often, and images of both classes."""
    query_labels, gallery_labels = run.labels()
    names = dict(
        zip(gallery_labels.tolist(), (run.searched().class_names[i] for i in run.searched().labels), strict=True)
    )
    names |= dict(enumerate(run.query.class_names))
    looked_at = query_labels[found.queries].bincount(minlength=max(names) + 1)

    def side(label: int, other: int, count: int) -> _Side:
        images, labels = run.searched(), gallery_labels
        if not (labels == label).any():
            images, labels = run.query, query_labels
        shown = (labels == label).nonzero().squeeze(1)[:NUM_PICTURES].tolist()
        pictures = [album.thumbnail(images, index) for index in shown]
        return _Side(names[label], names[other], count, int(looked_at[label]), pictures)

    rows = [
        (side(pair.first, pair.second, pair.first_to_second), side(pair.second, pair.first, pair.second_to_first))
        for pair in listed
    ]
    return part("report/templates/confusions.html", rows=rows)


class _Example(NamedTuple):
    """A picture with a caption: kind is query, right or wrong; spoken is what it is, for who does not see it.

    named: the caption has the name too, as of vectors, of which a picture says little.
    """

    kind: str
    picture: str
    class_name: str
    file: str
    text: str
    spoken: str
    named: bool


class _Side(NamedTuple):
    """One of two confused classes: how many of its queries find the other first, among how many."""

    name: str
    other: str
    confused: int
    queries: int
    pictures: list[str]


def _class(images: ImageSet, index: int) -> str:
    return str(images.class_names[images.labels[index]])


def _example(album: Album, images: ImageSet, index: int, kind: str, text: str, spoken: str) -> _Example:
    picture, name = album.thumbnail(images, index), images.names[index]
    return _Example(kind, picture, _class(images, index), name, text, spoken, has_vectors(images.read))
