"""An index follows a folder: whatever happens to it, afterwards the index is as if it were built anew."""

import os
import random
import shutil

import numpy as np
import pytest

from circlet.data import DataError
from circlet.index import Index, Updated
from circlet.inference import model as models
from tests.index.tiny import photo, photos, tiny_model


@pytest.fixture
def root(tmp_path):
    return photos(tmp_path / "photos", 4, 3)


@pytest.fixture
def index(root, tmp_path):
    with Index.build(tiny_model(), root, location=tmp_path / "photos.index", show_progress=False) as made:
        yield made


def update(index, **options):
    return index.update(show_progress=False, **options)


def same_as_built_anew(index, root):
    with Index.build(index.model, root, show_progress=False) as fresh:
        found, expected = ({item.name: item for item in each.items()} for each in (index, fresh))
        assert found == expected
        names = sorted(found)
        np.testing.assert_allclose(index.store.vectors(names), fresh.store.vectors(names), atol=1e-5)


def test_new_changed_gone_and_moved(index, root):
    assert update(index) == Updated(unchanged=12)
    photo(root / "class 9" / "new.png", (10, 20, 200))
    photo(root / "class 0" / "0.png", (200, 20, 10))
    (root / "class 1" / "1.png").unlink()
    (root / "class 2" / "2.png").rename(root / "class 3" / "moved.png")
    assert update(index) == Updated(new=2, changed=1, gone=2, unchanged=9, embedded=2)
    same_as_built_anew(index, root)
    assert update(index) == Updated(unchanged=12)


def test_files_that_change_places_keep_their_own_vectors(index, root):
    a, b, c = (root / "class 0" / f"{i}.png" for i in range(3))
    a.rename(root / "x.png")
    b.rename(a)
    c.rename(b)
    (root / "x.png").rename(c)
    assert update(index).changed == 3
    same_as_built_anew(index, root)


def test_a_class_of_another_name_is_not_embedded_again(index, root):
    (root / "class 0").rename(root / "café/<b>".replace("/", "∕"))
    found = update(index)
    assert (found.new, found.gone, found.embedded) == (3, 3, 0)
    same_as_built_anew(index, root)


def test_a_manifest_is_followed_too(tmp_path):
    root = photos(tmp_path / "photos", 2, 2)
    rows = [f"photos/class {c}/{i}.png,{'ant' if c else 'bee'}" for c in range(2) for i in range(2)]
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label\n" + "\n".join(rows) + "\n")
    with Index.build(tiny_model(), manifest, show_progress=False) as index:
        assert index.classes() == {"ant": 2, "bee": 2}
        manifest.write_text("path,label\n" + "\n".join([rows[0], rows[1].replace("bee", "wasp"), rows[2]]) + "\n")
        assert update(index) == Updated(changed=1, gone=1, unchanged=2)
        assert index.classes() == {"ant": 1, "bee": 1, "wasp": 1}
        assert index.path_of("photos/class 0/0.png") == root / "class 0" / "0.png"
    assert root.exists()


def test_a_manifest_may_have_an_image_twice_but_not_under_two_labels(tmp_path):
    root = photos(tmp_path / "photos", 1, 2)
    manifest = tmp_path / "list.csv"
    rows = ["photos/class 0/0.png,ant,", "photos/class 0/0.png,ant,", "photos/class 0/0.png,ant,2 2 9 9",
            f"{root}/class 0/1.png,bee,"]  # fmt: skip
    manifest.write_text("path,label,bbox\n" + "\n".join(rows) + "\n")
    with Index.build(tiny_model(), manifest, location=tmp_path / "made", show_progress=False) as index:
        assert index.classes() == {"ant": 2, "bee": 1}
        assert update(index) == Updated(unchanged=3)
        files = [index.path_of(item.name).name for item in index.items()]
        assert files == ["0.png", "0.png", "1.png"]
        with Index.build(tiny_model(), photos(tmp_path / "more", 1, 1), show_progress=False) as other:
            assert other.merge(index) == 3
            assert all(other.path_of(item.name) for item in other.items())
        manifest.write_text("path,label,bbox\n" + "\n".join([*rows, rows[0].replace("ant", "bee")]) + "\n")
        with pytest.raises(DataError, match=r"0\.png: found it under two labels, 'ant' and 'bee', expected"):
            update(index)


def test_the_same_size_and_times_do_not_hide_a_change(index, root):
    """What a copying program may do: other content of the same length, under the times of the old one."""
    path = root / "class 0" / "0.png"
    before = path.stat()
    content = bytearray(path.read_bytes())
    bmp = root / "class 0" / "flat.bmp"
    from PIL import Image

    Image.new("RGB", (16, 16), (250, 0, 0)).save(bmp)
    assert update(index).new == 1
    stat = bmp.stat()
    Image.new("RGB", (16, 16), (0, 0, 250)).save(bmp)
    os.utime(bmp, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert bmp.stat().st_size == stat.st_size
    assert update(index).changed == 1
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert content
    same_as_built_anew(index, root)


def test_broken_images_are_named_counted_and_left_out(index, root, capsys):
    (root / "class 0" / "new.png").write_bytes(b"no image")
    (root / "class 0" / "0.png").write_bytes(b"no image any more")
    found = update(index)
    assert {name for name, _ in found.skipped} == {"class 0/new.png", "class 0/0.png"}
    assert (found.new, found.changed, found.gone, found.unchanged) == (0, 0, 0, 11)
    assert "class 0/0.png" not in {item.name for item in index.items()}
    error = capsys.readouterr().err
    assert "new.png: found no readable image" in error
    with pytest.raises(DataError, match=r"\.png: found no readable image"):
        update(index, on_error="raise")
    same_as_built_anew(index, root)


def test_images_that_were_added_stay(index, root, tmp_path):
    path = photo(tmp_path / "elsewhere.png", (9, 90, 9))
    names = [
        *index.add(path, "x").names,
        *index.add(path, "x", ["mine"]).names,
        *index.add(path.read_bytes(), "x").names,
    ]
    photo(root / "added:odd" / "a.png", (1, 2, 3))
    assert update(index).new == 1
    shutil.rmtree(root / "class 0")
    assert update(index).gone == 3
    there = {item.name for item in index.items()}
    assert set(names) <= there
    assert "./added:odd/a.png" in there
    assert index.path_of("./added:odd/a.png") is not None
    shutil.rmtree(root / "added:odd")
    assert update(index).gone == 1


def test_another_folder_is_refused_while_the_first_is_there(index, root, tmp_path, capsys):
    other = photos(tmp_path / "other", 2, 2)
    with pytest.raises(ValueError, match=r"follows .*photos, found .*other, expected the same"):
        index.update(other, show_progress=False)
    moved = root.rename(tmp_path / "moved")
    assert index.update(moved, show_progress=False) == Updated(unchanged=12)
    assert "is gone; follows" in capsys.readouterr().err
    assert index.root == str(moved.resolve())
    with Index.create(tiny_model()) as empty, pytest.raises(ValueError, match="follows no folder"):
        update(empty)


def test_an_empty_folder_takes_nothing_away(index, root):
    shutil.rmtree(root)
    with pytest.raises(DataError, match="photos"):
        update(index)
    root.mkdir()
    with pytest.raises(DataError, match="found no image"):
        update(index)
    assert len(index) == 12


def test_an_interrupted_build_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "LEAST_PART", 2)
    monkeypatch.setattr(models, "MOST_PART", 2)
    root, location = photos(tmp_path / "photos", 5, 2), tmp_path / "photos.index"
    model = tiny_model()
    rows, calls = model._rows, []

    def interrupted(images):
        calls.append(len(images))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return rows(images)

    monkeypatch.setattr(model, "_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Index.build(model, root, location=location, show_progress=False)
    with Index.build(model, root, location=location, show_progress=False) as index:
        assert sum(calls) == 10 + 2  # the part in which it was interrupted
        same_as_built_anew(index, root)


def test_any_sequence_of_changes(tmp_path):
    """Property: after whatever was done to the folder, an update gives what a new index gives."""
    root, rng = photos(tmp_path / "photos", 3, 3), random.Random(3)
    with Index.build(tiny_model(), root, show_progress=False) as index:
        for step in range(12):
            for _ in range(rng.randint(1, 4)):
                files = sorted(root.rglob("*.png"))
                chosen, place = rng.choice(files), root / f"class {rng.randint(0, 4)}" / f"{rng.randint(0, 5)}.png"
                place.parent.mkdir(exist_ok=True)
                match rng.choice(["write", "move", "copy", "remove", "touch", "swap"]):
                    case "write":
                        photo(place, rng.choices(range(256), k=3), seed=step)
                    case "move":
                        chosen.rename(place)
                    case "copy" if chosen != place:
                        shutil.copy2(chosen, place)
                    case "remove" if len(files) > 2:
                        chosen.unlink()
                    case "touch":
                        os.utime(chosen)
                    case "swap":
                        other = rng.choice(files)
                        contents = chosen.read_bytes(), other.read_bytes()
                        chosen.write_bytes(contents[1])
                        other.write_bytes(contents[0])
            found = update(index)
            assert found.new + found.changed + found.unchanged == len(index) == len(list(root.rglob("*.png")))
            same_as_built_anew(index, root)
