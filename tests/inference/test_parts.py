"""Embeddings in parts: together those of one go; what is missing is made again, and what is of others is refused."""

import errno
import json
from itertools import count

import numpy as np
import pyarrow.parquet
import pytest

from circlet.data import DataError, every_image
from circlet.inference import parts
from circlet.inference.parts import PLAN, embed_in_parts
from tests.index.tiny import photos, tiny_model


@pytest.fixture
def images(tmp_path):
    return every_image(photos(tmp_path / "photos"))


@pytest.fixture(autouse=True)
def model(monkeypatch):
    """What any run holds."""
    found = tiny_model()

    def load(source, **options):
        return found

    monkeypatch.setattr(parts, "load_model", load)
    return found


def test_parts_are_one_table(images, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    found = embed_in_parts("run", images, out, part_images=5)
    assert found == (12, 12, 8, 3, [])
    assert sorted(path.name for path in out.iterdir()) == [PLAN, *(f"part-{i:05d}.parquet" for i in range(3))]
    table = pyarrow.parquet.read_table(out)
    assert table["path"].to_pylist() == list(images.names)
    assert table["label"].to_pylist() == images.labels.tolist()
    assert table["class"].to_pylist() == [images.class_names[label] for label in images.labels]
    rows = np.stack(table["embedding"].to_numpy())
    np.testing.assert_allclose(rows, model.embed(images, show_progress=False).numpy(), atol=1e-6)
    monkeypatch.setattr(model, "embed_images", None)  # nothing is made twice
    assert embed_in_parts("run", images, out) == (12, 0, 8, 3, [])


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "short"])
def test_what_is_missing_or_damaged_is_made_again(images, tmp_path, damage, capsys):
    out = tmp_path / "out"
    embed_in_parts("run", images, out, part_images=5)
    before = pyarrow.parquet.read_table(out)
    path = out / "part-00001.parquet"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        table = pyarrow.parquet.read_table(path)
        pyarrow.parquet.write_table(table.replace_schema_metadata() if damage == "other" else table.slice(1), path)
    assert embed_in_parts("run", images, out) == (12, 5, 8, 3, [])
    assert ("part-00001.parquet is damaged" in capsys.readouterr().err) == (damage != "gone")
    assert pyarrow.parquet.read_table(out).equals(before)


def test_a_full_disk_leaves_whole_parts_alone(images, tmp_path, monkeypatch):
    out, write, calls = tmp_path / "out", parts.write_table, count(1)

    def fills(file, *arguments, **keywords):
        write(file, *arguments, **keywords)
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts, "write_table", fills)
    with pytest.raises(OSError, match=r"part-00001.parquet: could not be written \(.*No space left"):
        embed_in_parts("run", images, out, part_images=5)
    assert sorted(path.name for path in out.iterdir()) == [PLAN, "part-00000.parquet"]
    monkeypatch.setattr(parts, "write_table", write)
    assert embed_in_parts("run", images, out) == (12, 7, 8, 3, [])


def test_images_that_cannot_be_read_are_named_now_and_later(images, tmp_path):
    (tmp_path / "photos" / "class 1" / "1.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"class 1/1\.png"):
        embed_in_parts("run", images, tmp_path / "out", part_images=3)
    assert (tmp_path / "out" / "part-00000.parquet").exists()
    for made in (8, 0):
        found = embed_in_parts("run", images, tmp_path / "out", on_error="skip")
        assert found[:4] == (11, made, 8, 4)
        assert [name for name, _ in found.broken] == ["class 1/1.png"]
    (tmp_path / "photos" / "class 3" / "0.png").write_bytes(b"none")
    for index in (1, 2):
        (tmp_path / "photos" / "class 3" / f"{index}.png").write_bytes(b"none")
    (tmp_path / "out" / "part-00003.parquet").unlink()  # of nothing that can be read
    assert embed_in_parts("run", images, tmp_path / "out", on_error="skip").rows == 8


def test_another_model_other_images_and_other_folders_are_refused(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    embed_in_parts("run", images, out, part_images=5)
    with pytest.raises(ValueError, match=r"parts of 5 images in it, expected 6"):
        embed_in_parts("run", images, out, part_images=6)
    with pytest.raises(ValueError, match=r"part_images: found 0"):
        embed_in_parts("run", images, out, part_images=0)
    for others in (images.subset(range(11)), images.subset(list(range(11, -1, -1)))):
        with pytest.raises(ValueError, match=r"out: found embeddings of other images in it \(12 in another list"):
            embed_in_parts("run", others, out)
    monkeypatch.setattr(parts, "load_model", lambda source, **options: tiny_model(seed=1))
    with pytest.raises(ValueError, match=r"out: found embeddings of another model in it"):
        embed_in_parts("run", images, out)
    with pytest.raises(ValueError, match=r"photos: found class \d in it and no _embeddings.json"):
        embed_in_parts("run", images, tmp_path / "photos")
    (out / PLAN).write_text(json.dumps({**json.loads((out / PLAN).read_text()), "part_images": "5"}))
    monkeypatch.undo()
