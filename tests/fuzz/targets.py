"""What is fuzzed: everything that circlet reads and that others, or a bad disk, may have written.

A target writes sound files into a folder, says which of them may be damaged, and reads them as the product does.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, features

import circlet
from circlet.advise import suggest_for
from circlet.data import ImageSet, decode, face_bin, face_records, image_folder, manifest
from circlet.data.catalogue import find_data_set
from circlet.data.open_image import open_image
from circlet.data.streams.parquet_shard import RowGroups, index_parquet
from circlet.data.streams.shard_index import ShardFile, ShardIndex
from circlet.data.streams.tar_shard import index_tar
from circlet.training import RunFolder, load
from tests.data import miniature, shard_files
from tests.fuzz import index_targets as indexes
from tests.fuzz.damage import EDITS, JSON_EDITS, TEXT_EDITS


class Target(NamedTuple):
    """A kind of file.

    make: writes sound files into a folder. damaged: globs of those that are damaged. read: as the product does.
    exact: what was read is compared, as other content must not pass. cost: of an example, in those of the others.
    """

    name: str
    make: Callable[[Path], object]
    damaged: tuple[str, ...]
    read: Callable[[Path], object]
    edits: Any = EDITS
    exact: bool = False
    cost: int = 1


def decode_some(images: ImageSet) -> None:
    """The first images, as training reads them; those that cannot be decoded are a ValueError, which is right."""
    for index in range(min(len(images), 3)):
        decode(images, index, size=(16, 16), channels=3)


def read_records(folder: Path) -> None:
    """Open the training set, decode some of its images."""
    decode_some(face_records(folder).train)


def write_bin(folder: Path, **options: Any) -> None:
    """A verification file."""
    miniature.write_face_bin(folder / "a.bin", **options)


def read_bin(folder: Path) -> None:
    """Open it, decode some of its images."""
    decode_some(face_bin(folder / "a.bin").images)


def listed(name: str, write: Callable[[Path], object], lists: tuple[str, ...]) -> Target:
    """A published data set, whose lists are damaged."""

    def read(folder: Path) -> None:
        entry = find_data_set(name)
        entry.open(folder)

    return Target(f"lists of {name}", write, lists, read, TEXT_EDITS)


def write_table(folder: Path, *, parquet: bool = False) -> None:
    """A manifest with every column."""
    rows = []
    for number in range(12):
        miniature.put(folder / f"{number}.jpg", number // 3, number)
        rows.append({"path": f"{number}.jpg", "label": f"class {number // 3}", "camera": str(number % 3),
                     "bbox": "1 2 20 20", "group": f"g{number}", "time": f"2024-01-{number + 1:02d}",
                     "category": f"c{number // 6}"})  # fmt: skip
    if parquet:
        import pyarrow as pa
        import pyarrow.parquet

        pa.parquet.write_table(pa.Table.from_pylist(rows), folder / "photos.parquet")
        return
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")


def read_table(folder: Path) -> None:
    """Open the manifest, decode some of its images."""
    (path,) = folder.glob("photos.*")
    decode_some(manifest(path, held_out=0.5).train)


def write_shard(folder: Path, *, parquet: bool = False) -> None:
    """A shard of eight images."""
    if parquet:
        shard_files.write_parquet(folder / "a.parquet", range(8))
    else:
        shard_files.write_tar(folder / "a.tar", ["ant", 1, 2, 3, "ant", 1, 2, 3], kind="json")


def read_shard(folder: Path) -> None:
    """Index the shard, without the cache, and decode some of its images."""
    (path,) = folder.glob("a.*")
    is_tar, groups = path.suffix == ".tar", RowGroups()
    index = ShardIndex.read((index_tar if is_tar else index_parquet)(path, "label"))
    assert index is not None
    shard, content = ShardFile.find(path), path.read_bytes()

    def read(row: int) -> Image.Image:
        offset, size = int(index.offsets[row]), int(index.sizes[row])
        assert offset + size <= len(content)
        return open_image(content[offset : offset + size] if is_tar else groups.image(shard, offset, "label"))

    names = [f"{path.name}/{name}" for name in index.names]  # as `Collection.names`
    decode_some(ImageSet.from_classes([index.class_names[code] for code in index.classes], names, read))


def write_image(suffix: str) -> Callable[[Path], None]:
    """An image folder with one image of a format beside sound ones."""

    def write(folder: Path) -> None:
        for number in range(4):
            miniature.put(folder / f"class{number % 2}" / f"{number}.jpg", number % 2, number)
        pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "a description"
        image = Image.fromarray(pixels)
        kinds = {"exif": exif} if suffix in ("jpg", "png", "webp", "tiff") else {}
        image.save(file, format=FORMATS.get(suffix, suffix.upper()), **kinds)
        (folder / "class0" / f"damaged.{suffix}").write_bytes(file.getvalue())

    return write


def read_image(folder: Path) -> None:
    """Decode every image of the folder, in each fit."""
    splits = image_folder(folder, held_out=0.5)
    for images in (splits.train, splits.query):
        for index in range(len(images)):
            for fit in ("stretch", "ink", "crop"):
                decode(images, index, size=(16, 16), channels=3, fit=fit)


def write_checkpoint(folder: Path) -> None:
    """A checkpoint as the loop writes them."""
    network = torch.nn.Linear(5, 4)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    state = {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "step": 3, "format": 2}
    RunFolder(folder).save(folder / "last.pt", state)


def read_checkpoint(folder: Path) -> Any:
    """Its content, in a form that can be compared."""
    return repr(load(folder / "last.pt"))


def write_run(folder: Path) -> None:
    """A run folder without a model: settings, log and results."""
    experiment = circlet.recipes.glyphs(steps=4)
    made = RunFolder.create(folder / "run", experiment.to_json())
    made.begin({"train_classes": 3, "train_images": 9})
    made.write_metrics([{"step": step, "loss": 1.0 / step, "lr": 0.1} for step in range(1, 5)])
    made.write_json("result.json", {"checkpoint": "last.pt", "test": {"recall@1": 0.5, "map@r": 0.25}})
    made.write_json("thresholds.json", indexes.thresholds())


def read_run(folder: Path) -> None:
    """Everything of a run that is read without its model."""
    run = circlet.load(folder / "run")
    run.metrics, run.log, run.thresholds, repr(run)
    suggest_for(folder / "run")


FORMATS = {"jpg": "JPEG", "jp2": "JPEG2000"}
RASTER = ("jpg", "png", "gif", "bmp", "webp", "tiff", "ppm", "jp2", *(["avif"] if features.check("avif") else []))
TARGETS = (
    Target("RecordIO", miniature.write_face_records, ("train.rec",), read_records),
    Target("RecordIO index", miniature.write_face_records, ("train.idx", "property"), read_records, TEXT_EDITS),
    Target("bin", write_bin, ("a.bin",), read_bin),
    Target("bin of arrays", partial(write_bin, arrays=True, protocol=2), ("a.bin",), read_bin),
    Target("manifest", write_table, ("photos.csv",), read_table, TEXT_EDITS),
    Target("Parquet manifest", partial(write_table, parquet=True), ("photos.parquet",), read_table),
    Target("tar shard", write_shard, ("a.tar",), read_shard),
    Target("Parquet shard", partial(write_shard, parquet=True), ("a.parquet",), read_shard, cost=3),
    *(Target(suffix, write_image(suffix), (f"class0/damaged.{suffix}",), read_image) for suffix in RASTER),
    Target("checkpoint", write_checkpoint, ("last.pt",), read_checkpoint, exact=True),
    Target("run folder", write_run, ("run/*.json", "run/*.jsonl"), read_run, JSON_EDITS),
    Target("index", indexes.write_store, ("index/*.vectors", "index/*.records"), indexes.read_store, exact=True),
    Target("index manifest", indexes.write_store, ("index/*.json",), indexes.read_store, JSON_EDITS, exact=True),
    Target("resealed manifest", indexes.write_store, ("index/*.json",), indexes.resealed_manifest, JSON_EDITS, cost=3),
    Target("resealed segment", indexes.write_cut_segment, ("segment.cut",), indexes.resealed_segment, cost=3),
    Target("resealed journal", indexes.write_store, ("index/*.records",), indexes.resealed_journal, cost=3),
    Target("approximate index", indexes.write_approximate, ("index/*.codes",), indexes.read_approximate, exact=True),
    Target("resealed approximate index", indexes.write_cut_approximate, ("header.json", "arrays.bin"),
           indexes.resealed_approximate, JSON_EDITS, cost=3),
    Target("Parquet of vectors", indexes.write_parquet, ("photos.parquet",), indexes.read_parquet),
    Target("index settings", indexes.write_settings, ("settings.json",), indexes.read_settings, JSON_EDITS),
    Target("model file", indexes.write_model_file, ("model.safetensors",), indexes.read_model_file, exact=True, cost=5),
    Target("upload", indexes.write_upload, ("upload.bin",), indexes.read_upload),
    listed("cub200", miniature.write_cub200, ("*/*.txt",)),
    listed("sop", miniature.write_sop, ("*/*.txt",)),
    listed("inshop", miniature.write_inshop, ("Eval/*.txt",)),
    listed("msmt17", miniature.write_msmt17, ("*/*.txt",)),
    listed("lfw", miniature.write_lfw, ("pairs.txt",)),
    listed("ytf", miniature.write_ytf, ("splits.txt",)),
    listed("ijbc", miniature.write_ijbc, ("IJBC/meta/*.txt",)),
    listed("megaface", miniature.write_megaface, ("data/*_lst",)),
    listed("cars196", miniature.write_cars196, ("*.mat",))._replace(cost=5),
)  # fmt: skip
