"""Shards for tests, written by Python's tarfile and by pyarrow."""

import io
import json
import tarfile

import numpy as np
from PIL import Image


def picture(label, number, size=12):
    """An encoded image of its own, whose grey says the class."""
    pixels = np.full((size, size), 8 * label % 256, np.uint8)
    pixels[number % size, number // size % size] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_members(path, members, format=tarfile.USTAR_FORMAT):
    """A tar of (name, content); a content that is a TarInfo stands for itself."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info is content:
                tar.addfile(info)
                continue
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def members_of(labels, first=0, kind="cls"):
    """Members of a WebDataset shard: an image and a label for each of `labels`."""
    for number, label in enumerate(labels, first):
        yield f"{number:06d}.png", picture(int(label) if str(label).isdigit() else 0, number)
        content = str(label) if kind == "cls" else json.dumps({"label": label, "caption": "x"})
        yield f"{number:06d}.{kind}", content.encode()


def write_tar(path, labels, first=0, kind="cls"):
    write_members(path, members_of(labels, first, kind))


def write_parquet(path, labels, first=0, row_group_size=4):
    """As `datasets` writes a data set with an Image feature."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": picture(int(label), number), "path": None} for number, label in enumerate(labels, first)]
    table = pa.table({"image": pa.array(images, kind), "label": pa.array([int(label) for label in labels])})
    pq.write_table(table, path, row_group_size=row_group_size)


def mixed(num_classes, per_class, num_shards, seed=0):
    """Labels of shards that are shuffled, as WebDataset's are."""
    labels = np.random.default_rng(seed).permutation(np.arange(num_classes * per_class) % num_classes)
    return [part.tolist() for part in np.array_split(labels, num_shards)]


def write_shards(folder, labels, write=write_tar, suffix="tar"):
    """A shard for each list of labels, their images numbered on."""
    first = 0
    for number, part in enumerate(labels):
        write(folder / f"train-{number:06d}.{suffix}", part, first)
        first += len(part)
    return folder / f"train-{{000000..{len(labels) - 1:06d}}}.{suffix}"
