"""The picture people look at first: queries with their nearest neighbours, framed by right and wrong."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from circlet.data import ImageSet, decode
from circlet.evaluate.checks import unit_pair

CELL = 72
GAP = 8
RIGHT, WRONG, QUERY = "#1b7837", "#c51b7d", "#555555"  # told apart by colour-blind readers too; wrong is also crossed


@torch.no_grad()
def nearest(query: Tensor, gallery: Tensor | None, rows: Sequence[int], count: int) -> Tensor:
    """(len(rows), count) indices of the gallery rows of highest cosine; gallery None: the other queries."""
    queries, items = unit_pair("query", query, "gallery", query if gallery is None else gallery)
    s = queries[list(rows)] @ items.T
    if gallery is None:
        s[torch.arange(len(rows)), list(rows)] = -torch.inf
    return s.topk(min(count, s.shape[1]), dim=1).indices


def contact_sheet(
    query: ImageSet,
    gallery: ImageSet | None,
    embedded: tuple[Tensor, Tensor | None],
    *,
    num_queries: int = 8,
    num_neighbours: int = 9,
    seed: int = 0,
) -> Image.Image:
    """A row for each of some random queries: the query, then its nearest neighbours; wrong ones are crossed out."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(query), generator=generator)[:num_queries].tolist()
    found = nearest(*embedded, rows, num_neighbours)
    others = query if gallery is None else gallery
    width = GAP + (1 + found.shape[1]) * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, GAP + len(rows) * (CELL + GAP)), "white")
    for y, (row, neighbours) in enumerate(zip(rows, found.tolist(), strict=True)):
        name = query.class_names[query.labels[row]]
        _paste(sheet, 0, y, query, row, QUERY)
        for x, index in enumerate(neighbours):
            right = others.class_names[others.labels[index]] == name
            _paste(sheet, x + 1, y, others, index, RIGHT if right else WRONG)
    return sheet


def _paste(sheet: Image.Image, column: int, row: int, images: ImageSet, index: int, colour: str) -> None:
    left = GAP + column * (CELL + GAP) + (GAP if column else 0)
    top = GAP + row * (CELL + GAP)
    thumbnail = Image.fromarray(decode(images, index, size=(CELL - 6, CELL - 6), fit="pad").transpose(1, 2, 0).copy())
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + CELL - 1, top + CELL - 1), fill=colour)
    sheet.paste(thumbnail, (left + 3, top + 3))
    if colour == WRONG:
        draw.line((left, top + CELL - 1, left + CELL - 1, top), fill=colour, width=2)
