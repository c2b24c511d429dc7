"""Decoded images by their position in a collection, for the workers of a loader: no list of images travels to them."""

from typing import cast

import torch

from circlet.data.decode import decode_noting
from circlet.data.decoded import DecodedImages
from circlet.data.images import ImageSet
from circlet.data.streams.collection import Collection
from circlet.data.streams.stream_set import PositionReader


class DecodedPositions(DecodedImages):
    """Torch data set of a whole collection: item i is (uint8 tensor (channels, H, W), -1, i), without a label.

    like: how images are decoded is taken from it.
    """

    def __init__(self, collection: Collection, like: DecodedImages) -> None:
        self.image_set = cast(ImageSet, _Everything(collection))
        self._form = like._form
        self._number = len(collection)

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        """Decode the image at position `index`; one that cannot be decoded is a DataError."""
        pixels, _ = decode_noting(self.image_set, index, self._form)
        return torch.from_numpy(pixels), -1, index


class _Everything:
    """As much of an `ImageSet` as decoding an image asks for."""

    def __init__(self, collection: Collection) -> None:
        self.read = PositionReader(collection)
        self.names = _Names(collection)


class _Names:
    """What messages call the images, by position."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def __getitem__(self, index: int) -> str:
        return self.collection.place(index)
