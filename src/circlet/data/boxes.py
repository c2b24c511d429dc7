"""Boxes: the part of an image that is meant, as columns `bbox` of manifests give it.

A box is x, y, width and height in pixels of the upright image, with the origin at its upper left corner. Whether it
lies within its image shows only when that is opened. Boxes are not found here.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from circlet.data.depth import averageable
from circlet.data.images import DataError
from circlet.data.large import LARGE, reduced, turn_of
from circlet.data.readers import Reader, content_of, file_of, part_of
from circlet.data.strict import passing_over
from circlet.data.upright import orientation, stored_edges, turned, upright_size

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
Floats = npt.NDArray[np.float64]

_EXPECTED = "x y width height: four numbers, in pixels of the upright image"
_FIELDS = (("x",), ("y",), ("width", "w"), ("height", "h"))
_SLACK = 1.0  # pixels by which a box may reach beyond its image: detectors round


class BoxError(DataError):
    """A box that does not fit its image; the message names the line of the manifest."""


def parse_box(cell: Any) -> Box | None:
    """The box of a cell: text ("10 20 64 48" or "10,20,64,48"), four numbers, or a struct with x, y, width, height.

    >>> parse_box("10, 20, 64.5, 48")
    (10.0, 20.0, 64.5, 48.0)
    >>> parse_box({"x": 1, "y": 2, "w": 3, "h": 4})
    (1.0, 2.0, 3.0, 4.0)

    None for an empty cell, which means the whole image. A ValueError that says what was found for anything else: other
    fields, no four numbers, one that is not finite, no width or no height.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    numbers: list[Any]
    if isinstance(cell, str):
        numbers = re.split(r"\s*,\s*|\s+", cell.strip().strip("[]()").strip())
    elif isinstance(cell, dict):
        names = [next((name for name in allowed if name in cell), None) for allowed in _FIELDS]
        if None in names or len(cell) != len(names):
            raise ValueError(f"found a box of {', '.join(map(str, cell))}, expected x, y, width and height")
        numbers = [cell[name] for name in names]
    else:
        numbers = list(cell) if isinstance(cell, list | tuple) else [cell]
    try:
        x, y, width, height = (float(number) for number in numbers)
    except (TypeError, ValueError):
        raise ValueError(f"found the box {cell!r}, expected {_EXPECTED}") from None
    if not np.isfinite((x, y, width, height)).all():
        raise ValueError(f"found the box {cell!r}, expected finite numbers")
    if width <= 0 or height <= 0:
        raise ValueError(f"found the box {cell!r}, expected a width and a height above 0")
    return x, y, width, height


def box_text(box: Box) -> str:
    """A box as the fragment of a name, in the way of W3C's media fragments: `photo.jpg#xywh=10,20,64,48`."""
    return "#xywh=" + ",".join(f"{number:.12g}" for number in box)


@dataclass(frozen=True, eq=False)
class BoxReader:
    """Reader of parts of images: image i is the part `boxes[i]` of image i of `read`, upright.

    boxes: (N, 4) x, y, width, height; a row of nan is the whole image. Edges are rounded to whole pixels; at least one
    is kept. A box that reaches beyond its image by more than a pixel is a `BoxError`, which begins with `where(i)`.
    """

    read: Reader
    boxes: Floats = field(repr=False)
    where: Callable[[int], str]

    def __call__(self, index: int) -> "Image":
        """Return the part, decoded; an image without a box as `read` gives it.

        A part of very many pixels (`circlet.data.large`) is of half the size.
        """
        image = self.read(index)
        if np.isnan(self.boxes[index, 0]):
            return image
        with image, turn_of(image.size):
            with passing_over():  # damaged pixels are errors; what is warned of is metadata
                image.load()
            stored = orientation(image)
            edges = stored_edges(self._edges(index, *upright_size(image.size, stored)), image.size, stored)
            area = (edges[2] - edges[0]) * (edges[3] - edges[1])
            part = image.crop(edges) if area < 2 * LARGE else reduced(image, 2, averageable, edges)
        return turned(part, stored)

    def file(self, index: int) -> str | None:
        """The path of the whole image, if the reader below knows it."""
        return file_of(self.read, index)

    def part(self, index: int) -> bytes | None:
        """The box within the part that the reader below gives, if it can tell."""
        whole = part_of(self.read, index)
        return None if whole is None else whole + self._box_bytes(index)

    def content(self, index: int) -> bytes | None:
        """The bytes of the whole image and of the box, if the reader below gives them."""
        whole = content_of(self.read, index)
        return None if whole is None else whole + self._box_bytes(index)

    def _box_bytes(self, index: int) -> bytes:
        """The box, to tell it from others; b"" where there is none."""
        if np.isnan(self.boxes[index, 0]):
            return b""
        return b"#xywh=" + struct.pack("<4d", *self.boxes[index].tolist())

    def _edges(self, index: int, image_width: int, image_height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as `crop` takes them."""
        x, y, width, height = self.boxes[index].tolist()
        beyond = max(-x, -y, x + width - image_width, y + height - image_height)
        if beyond > _SLACK or x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
            raise BoxError(
                f"{self.where(index)}: found the box x {x:g}, y {y:g}, width {width:g}, height {height:g}, expected "
                f"one within the image, which upright is {image_width} wide and {image_height} high"
            )
        left, right = _whole(x, x + width, image_width)
        top, bottom = _whole(y, y + height, image_height)
        return left, top, right, bottom


def _whole(low: float, high: float, most: int) -> tuple[int, int]:
    """An interval in whole pixels within 0..most, at least one pixel long."""
    first = min(max(round(low), 0), most - 1)
    return first, min(max(round(high), first + 1), most)
