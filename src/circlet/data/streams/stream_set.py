"""The images of some classes of a collection of shards, as an `ImageSet` that lists them only if somebody asks.

Training asks for the classes and reads shard by shard (`circlet.sampling.stream`); testing, on far fewer classes, asks
for all that an `ImageSet` has, and reads the images by their positions.
"""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from circlet.data.images import Bools, ImageSet, Ints
from circlet.data.streams.collection import Collection

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_LEFT_OUT = 1 << 16


class StreamSet(ImageSet):
    """The images of `classes` (numbers, ascending) of a collection, without those at `left_out` (positions).

    What an `ImageSet` has is worked out when it is asked for: labels, names and the reader take memory for each image.
    """

    collection: Collection
    class_sizes: Ints
    left_out: Ints
    _label_of: npt.NDArray[np.int32]
    _classes: Ints

    def __init__(self, collection: Collection, classes: Ints, left_out: npt.ArrayLike = ()) -> None:
        set_field = object.__setattr__  # it is frozen, as every ImageSet
        set_field(self, "collection", collection)
        set_field(self, "left_out", np.unique(np.asarray(left_out, dtype=np.int64)))
        label_of = np.full(len(collection.class_names), -1, dtype=np.int32)
        label_of[classes] = np.arange(len(classes))
        set_field(self, "_label_of", label_of)
        set_field(self, "_classes", np.asarray(classes, dtype=np.int64))
        set_field(self, "class_names", tuple(collection.class_names[number] for number in classes))
        sizes = collection.class_sizes[classes]
        for shard in np.unique(np.searchsorted(collection.starts, self.left_out, side="right") - 1).tolist():
            out = label_of[collection.labels(shard)[self._left_out_of(shard)]]
            sizes -= np.bincount(out[out >= 0], minlength=len(classes))
        set_field(self, "class_sizes", sizes)

    def __repr__(self) -> str:
        return f"StreamSet({len(self)} images of {self.num_classes} classes in {len(self.collection.shards)} shards)"

    def __len__(self) -> int:
        return int(self.class_sizes.sum())

    def shard_labels(self, shard: int) -> npt.NDArray[np.int32]:
        """The label of each image of a shard, in order; -1 for one that is not in the set."""
        labels: npt.NDArray[np.int32] = self._label_of[self.collection.labels(shard)]
        labels[self._left_out_of(shard)] = -1
        return labels

    def _left_out_of(self, shard: int) -> Ints:
        """The places in a shard of the images that are left out."""
        start, end = self.collection.starts[shard : shard + 2].tolist()
        first, last = np.searchsorted(self.left_out, [start, end]).tolist()
        places: Ints = self.left_out[first:last] - start
        return places

    @cached_property
    def positions(self) -> Ints:
        """Where each image is (N,), in ascending order."""
        starts = self.collection.starts.tolist()
        numbers = range(len(self.collection.shards))
        parts = [starts[shard] + np.flatnonzero(self.shard_labels(shard) >= 0) for shard in numbers]
        return np.concatenate(parts).astype(np.int64)

    @cached_property
    def labels(self) -> Ints:
        """As of any ImageSet."""
        parts = [self.shard_labels(shard) for shard in range(len(self.collection.shards))]
        return np.concatenate([part[part >= 0] for part in parts]).astype(np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """As of any ImageSet: shard/member."""
        found: list[str] = []
        for shard in range(len(self.collection.shards)):
            rows = np.flatnonzero(self.shard_labels(shard) >= 0).tolist()
            if rows:
                names = self.collection.names(shard)
                found += [names[row] for row in rows]
        return tuple(found)

    @cached_property
    def read(self) -> "PositionReader":
        """As of any ImageSet."""
        return PositionReader(self.collection, self.positions)

    def subset(self, indices: npt.ArrayLike) -> ImageSet:  # type: ignore[override]
        """As of any ImageSet; what leaves a few images out, and no class, is a stream again."""
        chosen = np.asarray(indices)
        missing = len(self) - len(chosen)
        if 0 <= missing <= _MOST_LEFT_OUT and (np.diff(chosen) > 0).all():
            out = np.setdiff1d(np.arange(len(self)), chosen)
            found = StreamSet(self.collection, self._classes, np.concatenate([self.left_out, self.positions[out]]))
            if found.class_sizes.all() and len(found) == len(chosen):
                return found
        return self.listed().subset(chosen)

    def of_classes(self, chosen: Bools) -> "StreamSet":
        """The images of some classes, `chosen` (num_classes,)."""
        return StreamSet(self.collection, self._classes[chosen], self.left_out)

    def listed(self) -> ImageSet:
        """The same as a plain ImageSet, with its list of images."""
        return ImageSet(self.labels, self.class_names, self.names, self.read)

    def class_digests(self) -> list[str]:
        """For each class a text that is another where other images, or other shards, are meant."""
        left = hashlib.blake2b(self.left_out.tobytes(), digest_size=4).hexdigest() if len(self.left_out) else ""
        shards = self.collection.digest()[:16]
        return [f"{size} images of the shards {shards}{left}" for size in self.class_sizes.tolist()]

    def told(self) -> dict[str, Any]:
        """What ranks must have alike to train on it: every shard, by name."""
        found: dict[str, Any] = {"training classes": self.num_classes, "training images": len(self)}
        classes = "\0".join(self.class_names).encode("utf-8", "surrogatepass")
        found["names of the training classes (digest)"] = hashlib.blake2b(classes, digest_size=8).hexdigest()
        found["training images left out"] = len(self.left_out)
        collection = self.collection
        for name, shard, digest in zip(collection.shard_names, collection.shards, collection.digests, strict=True):
            found[f"shard {name}"] = f"{shard.size} bytes, index {digest[:16]}"
        return found


class PositionReader:
    """Reader of images by position: image i is at `positions[i]` of the collection, or at i without any."""

    def __init__(self, collection: Collection, positions: Ints | None = None) -> None:
        self.collection, self.positions = collection, positions

    def __call__(self, index: int) -> "Image":
        """Return image `index`, not decoded yet."""
        return self.collection.open(self._position(index))

    def place(self, index: int) -> str:
        """The shard and the member."""
        return self.collection.place(self._position(index))

    def content(self, index: int) -> bytes:
        """The bytes of the encoded image."""
        return self.collection.content(self._position(index))

    def _position(self, index: int) -> int:
        return index if self.positions is None else int(self.positions[index])
