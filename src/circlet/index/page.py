"""Neighbours as a page with pictures: self-contained, so that it works offline and can be sent to somebody."""

from collections.abc import Sequence
from typing import NamedTuple

from circlet.data import DataError, ImageSet
from circlet.data.images import FileReader
from circlet.index.index import Index
from circlet.index.searching import Neighbour
from circlet.pages import page

SIDE = 160  # of a picture, in pixels
SHOWN, SHOWN_NEIGHBOURS = 100, 50  # a page of more would be too large for a browser


class Shown(NamedTuple):
    """A picture with what is said of it; picture "": it cannot be shown."""

    picture: str
    name: str
    label: str
    similarity: str
    same: bool


def search_page(index: Index, images: ImageSet, found: Sequence[Sequence[Neighbour]]) -> str:
    """The page as text: each image that was searched for, and its neighbours in the index; the first SHOWN of them."""
    rows = [
        (_query(images, place), [_neighbour(index, each) for each in neighbours[:SHOWN_NEIGHBOURS]])
        for place, neighbours in enumerate(found[:SHOWN])
    ]
    what = images.names[0] if len(images) == 1 else f"{len(images)} images"
    return page(
        "index/templates/search.html",
        f"{what} searched for in {index.location}",
        styles=("pages/palette.css", "index/templates/search.css"),
        rows=rows,
        searched=len(images),
        most=max(map(len, found), default=0),
        shown_neighbours=SHOWN_NEIGHBOURS,
        location=index.location,
        model=index.mark.name,
        number=len(index),
    )


def _query(images: ImageSet, place: int) -> Shown:
    return Shown(_picture(images, place), images.names[place], "", "", same=False)


def _neighbour(index: Index, found: Neighbour) -> Shown:
    path = index.path_of(found.name)
    picture = ""
    if path is not None:
        picture = _picture(ImageSet.from_classes(["."], [found.name], FileReader("", (str(path),))), 0)
    return Shown(picture, found.name, found.label, f"{found.similarity:.3f}", found.same)


def _picture(images: ImageSet, place: int) -> str:
    """A data URI; "" for an image that is not there any more, or cannot be read."""
    from circlet.data.thumbnails import sheet

    try:
        return sheet(images, [place], side=SIDE, columns=1)
    except DataError:
        return ""
