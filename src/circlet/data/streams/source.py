"""Shards as a data set: what is trained on is streamed, what is tested on is other shards or classes held out."""

from pathlib import Path

import numpy as np

from circlet.data.data_set import DataSet
from circlet.data.images import DataError, Splits, hold_out_classes
from circlet.data.notes import say_once, shown
from circlet.data.streams.collection import Collection
from circlet.data.streams.names import EXPECTED, find_shards
from circlet.data.streams.stream_set import StreamSet

LAYOUT = """\
train-000000.tar               WebDataset: 0001.jpg with 0001.cls (the label), or 0001.json (the key label)
train-000001.tar               ROOT: a folder, one file, or train-{000000..000099}.tar
or train-00000-of-00010.parquet
                               Hugging Face's: column image (a struct of bytes and path), column label"""


def shards(
    root: str | Path,
    *,
    test_shards: str | Path | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    label: str = "label",
) -> Splits:
    """WebDataset tars or Parquet files with the bytes of images, to be trained on without unpacking them.

    root, test_shards: a shard, a folder of them, or a pattern such as train-{000000..000099}.tar. With `test_shards`
    all of `root` is trained on, and all of these are tested on, of other classes. Without, classes are held out for the
    test (`held_out` and `seed` as in `split_classes`), whose images are then read out of the shards by their positions.
    label: the key of a JSON member, or the column of Parquet, that holds the label.

    The first time, the headers and labels of all shards are read in one pass, which is kept in the cache. DataError for
    a shard that is missing, cut off, damaged or there twice, an image without a label, and classes on both sides.
    """
    collection = Collection(find_shards(root), label)
    everything = StreamSet(collection, np.arange(len(collection.class_names)))
    if test_shards is None:
        try:
            train, tested = hold_out_classes(everything, held_out, seed)
        except DataError as error:
            raise DataError(f"{root}: {error}") from error
    else:
        others = Collection(find_shards(test_shards), label)
        _require_apart(collection, others)
        train, tested = everything, StreamSet(others, np.arange(len(others.class_names)))
    assert isinstance(train, StreamSet)
    assert isinstance(tested, StreamSet)
    _say_of_single_images(train)
    return Splits(train, tested.listed())


def _require_apart(trained: Collection, tested: Collection) -> None:
    paths = {shard.path for shard in trained.shards}
    both = next((shard.path for shard in tested.shards if shard.path in paths), None)
    if both is not None:
        raise DataError(f"{both}: found a shard to train on among those to test on, expected other ones")


def _say_of_single_images(train: StreamSet) -> None:
    """Note classes without a pair; a DataError where no class has one."""
    single = np.flatnonzero(train.class_sizes == 1)
    if not single.size:
        return
    position = train.of_classes(np.arange(train.num_classes) == single[0]).positions[0]
    first = f"{shown(train.class_names[single[0]])} in {train.collection.place(int(position))}"
    if single.size == train.num_classes:
        raise DataError(f"shards: found {single.size} training classes of one image each (such as {first}), expected "
                        "some with two or more")  # fmt: skip
    are = "classes have" if single.size > 1 else "class has"
    say_once(f"warning: {single.size} of {train.num_classes} training {are} one image, and no positive pair: {first}")


SHARDS = DataSet(
    "shards",
    shards,
    title="your own images in shards: WebDataset tars, or Parquet with their bytes",
    layout=f"{LAYOUT}\n\n({EXPECTED})",
    streamed=True,
)
