"""The picture of queries and their neighbours: who stands in it, in which frame, and that files are decoded as ever."""

import numpy as np
import pytest
import torch
from PIL import Image

from circlet.data import DataError, FileReader, ImageSet
from circlet.report import contact_sheet
from circlet.report.neighbours import CELL, GAP, QUERY, RIGHT, WRONG

POINTS = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 50.0], [5.0, 50.0]])  # by inner product all find the last one


def image_set(folder, classes="aabb"):
    names = [f"{i}.png" for i in range(len(classes))]
    for i, name in enumerate(names):
        Image.fromarray(np.full((4, 4), i << 12, np.uint16)).save(folder / name)  # 16 bits, which decode scales down
    return ImageSet.from_classes(list(classes), names, FileReader(str(folder), tuple(names)))


def cell(sheet, column, row):
    """Frame and middle of a cell."""
    left, top = GAP + column * (CELL + GAP) + (GAP if column else 0), GAP + row * (CELL + GAP)
    return "#{:02x}{:02x}{:02x}".format(*sheet.getpixel((left + 9, top))), sheet.getpixel((left + 9, top + 30))[0] >> 4


@pytest.mark.parametrize("separate", [False, True])
def test_neighbours_are_those_of_highest_cosine(tmp_path, separate):
    images = image_set(tmp_path)
    points = POINTS.clone().requires_grad_()
    gallery = (images, points.double()) if separate else (None, None)
    sheet = contact_sheet(images, gallery[0], (points, gallery[1]), num_queries=4, num_neighbours=2)
    own = {0: [0, 1], 1: [1, 0], 2: [2, 3], 3: [3, 2]}
    others = {0: [1, 3], 1: [0, 3], 2: [3, 1], 3: [2, 1]}
    seen = set()
    for row in range(4):
        (frame, query), *found = [cell(sheet, column, row) for column in range(3)]
        assert frame == QUERY
        assert [picture for _, picture in found] == (own if separate else others)[query]
        assert [frame for frame, _ in found] == [RIGHT if query // 2 == i // 2 else WRONG for _, i in found]
        seen.add(query)
    assert seen == {0, 1, 2, 3}


def test_a_broken_picture_is_named(tmp_path):
    images = image_set(tmp_path)
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2.png: found no readable image"):
        contact_sheet(images, None, (POINTS, None))
