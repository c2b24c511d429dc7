"""Large images: decoded one at a time in a process, and made small while they are converted, strip by strip.

A photograph of 256 megapixels takes a gigabyte once it is decoded; eight threads with one each, or a few copies on the
way to another mode, would take the machine.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

LARGE = 1 << 25
"""Pixels from which an image is large: 128 MiB as Pillow holds colours."""
_STRIP = 1 << 22  # pixels


class _Turn:
    """Whose turn it is to hold a large image; a forked process has its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.Lock()  # a thread that is not there any more may hold the old one


_turn = _Turn()


@contextmanager
def turn_of(size: tuple[int, int]) -> Iterator[None]:
    """Within it no other thread is within one for a large image, if this is one: (width, height) pixels."""
    if size[0] * size[1] < LARGE:
        yield
        return
    with _turn.lock:
        yield


def reduced(
    image: "Image",
    factor: int,
    convert: Callable[["Image"], "Image"],
    edges: tuple[int, int, int, int] | None = None,
) -> "Image":
    """`convert` of the loaded image, with each side divided by `factor` and rounded up; pixels are averaged.

    >>> from PIL import Image
    >>> reduced(Image.new("RGB", (7, 5)), 2, lambda strip: strip.convert("L")).size
    (4, 3)

    convert: from any mode to a mode that can be averaged, such as L and RGB; of each pixel by itself. edges: left, top,
    right and bottom of the part that is meant; None is the whole.
    """
    from PIL import Image

    left, upper, right, lower = edges or (0, 0, image.width, image.height)
    rows = factor * max(1, _STRIP // ((right - left) * factor))
    made: Image.Image | None = None
    for top in range(upper, lower, rows):
        strip = convert(image.crop((left, top, right, min(top + rows, lower)))).reduce(factor)
        if made is None:
            made = Image.new(strip.mode, (strip.width, -(-(lower - upper) // factor)))
        made.paste(strip, (0, (top - upper) // factor))
    assert made is not None, "an image has at least one row"
    return made
