"""The images of a set as small grey pictures, to be compared with each other, and how large each is.

They lie in a file without a name where they are many, and go with it.
"""

import tempfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circlet.curate.overlay import SIDE
from circlet.data.ahead import map_ahead, num_threads
from circlet.data.decode import decode
from circlet.data.images import DataError, ImageSet, Ints
from circlet.progress import progress

_IN_MEMORY = 1 << 14


@dataclass(frozen=True, eq=False)
class SmallPictures:
    """pixels: (n, 64, 64) uint8, black for an image that could not be read."""

    pixels: npt.NDArray[np.uint8]

    def of(self, indices: Ints) -> Tensor:
        """Those of some images."""
        return torch.from_numpy(self.pixels[indices])


def small_pictures(images: ImageSet) -> SmallPictures:
    """Decode a set, with a progress bar; an image that cannot be read is black, and thereby like no other."""
    shape = (len(images), SIDE, SIDE)
    if len(images) > _IN_MEMORY:
        with tempfile.TemporaryFile() as file:  # mapped memory stays when the file is closed, and goes with the array
            pixels: npt.NDArray[np.uint8] = np.memmap(file, np.uint8, "w+", shape=shape)
    else:
        pixels = np.zeros(shape, np.uint8)

    def one(index: int) -> npt.NDArray[np.uint8] | None:
        try:
            found: npt.NDArray[np.uint8] = decode(images, index, size=(SIDE, SIDE), channels=1)[0]
            return found
        except DataError:
            return None

    with progress("compare", len(images), unit="image") as shown:
        for index, found in enumerate(map_ahead(one, len(images), threads=num_threads(), ahead=64)):
            if found is not None:
                pixels[index] = found
            shown.advance()
    return SmallPictures(pixels)


def areas(images: ImageSet, indices: Ints) -> Ints:
    """(m,) width x height of some images, from their headers; 0 where one cannot be read."""

    def one(index: int) -> int:
        try:
            with images.read(index) as image:
                return int(image.width * image.height)
        except Exception:  # readers are anybody's: what is wrong with an image shows when it is decoded
            return 0

    found = map_ahead(lambda i: one(int(indices[i])), len(indices), threads=num_threads(), ahead=64)
    return np.fromiter(found, np.int64, len(indices))
