import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from circlet.data import DataError, content_digest, decode, decode_all, manifest
from circlet.data.boxes import BoxReader, parse_box
from circlet.data.every_image import every_image


def noise(height, width, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def table(tmp_path, *rows, header="path,label,bbox"):
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def pixels(images, index, size):
    return decode(images, index, size=size).transpose(1, 2, 0)


@pytest.mark.parametrize("cell", ["2 1 4 3", '"2,1,4,3"', '"2, 1, 4.2, 2.9"', '"[2, 1, 4, 3]"'])
def test_the_part_that_is_meant(tmp_path, cell):
    whole = noise(6, 10)
    whole.save(tmp_path / "a.png")
    images = every_image(table(tmp_path, f"a.png,x,{cell}", "a.png,y,"))
    assert pixels(images, 0, (3, 4)).tolist() == np.asarray(whole)[1:4, 2:6].tolist()
    assert pixels(images, 1, (6, 10)).tolist() == np.asarray(whole).tolist()
    assert images.names[0].startswith("a.png#xywh=2,1,4")
    assert images.names[1] == "a.png"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_box_counts_in_the_upright_image(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = noise(6, 10)
    stored.save(tmp_path / f"a.{suffix}", exif=exif)
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    with Image.open(tmp_path / f"a.{suffix}") as image:
        stored = image.convert("RGB")
    upright = stored if orientation == 1 else stored.transpose(Image.Transpose(turn[orientation]))
    images = every_image(table(tmp_path, f"a.{suffix},x,1 2 4 3"))
    assert pixels(images, 0, (3, 4)).tolist() == np.asarray(upright)[2:5, 1:5].tolist()


@given(st.data())
def test_any_box_within_any_image(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    x, y = data.draw(st.floats(0, width, exclude_max=True)), data.draw(st.floats(0, height, exclude_max=True))
    w = data.draw(st.floats(0, width - x, exclude_min=True)) if x < width else 1
    h = data.draw(st.floats(0, height - y, exclude_min=True)) if y < height else 1
    image = noise(height, width)
    part = BoxReader(lambda index: image.copy(), np.array([[x, y, w, h]]), str)(0)
    assert part.width == max(1, round(x + w) - min(round(x), width - 1))
    assert part.height == max(1, round(y + h) - min(round(y), height - 1))
    left, top = min(round(x), width - 1), min(round(y), height - 1)
    assert part.tobytes() == image.crop((left, top, left + part.width, top + part.height)).tobytes()


@pytest.mark.parametrize("box", ["20 2 4 4", "-3 0 5 5", "8 0 4 3", "0 0 10 8", "-9 -9 3 3", "10 0 1 1", "0 6 1 .5"])
def test_a_box_outside_the_image_names_file_and_line(tmp_path, box):
    noise(6, 10).save(tmp_path / "a.png")
    path = table(tmp_path, "a.png,x,1 1 3 3", f"a.png,y,{box}")
    splits = manifest(path)
    bad = next(part for part in (splits.train, splits.query) if part.class_names == ("y",))
    message = (
        r"list.csv, line 3: a.png: found the box x .* expected one within the image, which upright is 10 wide and 6"
    )
    with pytest.raises(DataError, match=message) as error:
        decode(bad, 0, size=(4, 4))
    assert str(error.value).startswith(str(path))
    images = every_image(path)
    found = decode_all(images, size=(4, 4), on_error="skip")
    assert found.kept.tolist() == [0]
    assert found.broken == [(images.names[1], str(error.value))]
    assert found.broken == decode_all(images, size=(4, 4), on_error="skip", num_workers=0).broken


def test_detectors_may_round_by_a_pixel(tmp_path):
    noise(6, 10).save(tmp_path / "a.png")
    images = every_image(table(tmp_path, "a.png,x,-0.7 -1 11.5 8"))
    with images.read(0) as image:
        assert image.size == (10, 6)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1 2 3", "found the box '1 2 3', expected x y width height"),
        ("1 2 3 4 5", "expected x y width height"),
        ("a b c d", "found the box 'a b c d'"),
        ('"1,2,,4"', "found the box '1,2,,4'"),
        ("nan 1 1 1", "expected finite numbers"),
        ("0 0 inf 1", "expected finite numbers"),
        ("0 0 0 4", "expected a width and a height above 0"),
        ("0 0 4 -1", "expected a width and a height above 0"),
    ],
)
def test_malformed_boxes(tmp_path, cell, message):
    path = table(tmp_path, "a.png,x,0 0 1 1", f"b.png,y,{cell}")
    with pytest.raises(DataError, match=f"line 3: .*{message}.*column 'bbox'"):
        manifest(path)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([[1, 2, 4, 3], None], None),
        ([[1.0, 2.0, 4.0, 3.0], None], "float32"),
        ([{"x": 1, "y": 2, "width": 4, "height": 3}, None], None),
        ([{"h": 3.0, "w": 4.0, "y": 2.0, "x": 1.0}, None], None),
        (["1 2 4 3", None], None),
    ],
)
def test_parquet(tmp_path, cells, kind):
    import pyarrow as pa
    import pyarrow.parquet

    whole = noise(6, 10)
    whole.save(tmp_path / "a.png")
    boxes = pa.array(cells, pa.list_(pa.float32(), 4)) if kind else pa.array(cells)
    pyarrow.parquet.write_table(
        pa.table({"path": ["a.png", "a.png"], "label": ["x", "y"], "bbox": boxes}), tmp_path / "list.parquet"
    )
    images = every_image(tmp_path / "list.parquet")
    assert pixels(images, 0, (3, 4)).tolist() == np.asarray(whole)[2:5, 1:5].tolist()
    assert images.names == ("a.png#xywh=1,2,4,3", "a.png")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1, 2, 4], [1, 2, 4]], r"row 0: found the box \[1, 2, 4\]"),
        ([{"xmin": 1, "ymin": 2, "xmax": 4, "ymax": 3}], "row 0: found a box of xmin, ymin, xmax, ymax"),
        ([5], "row 0: found the box 5"),
        ([[1, None, 4, 3]], r"row 0: found the box \[1, None, 4, 3\]"),
    ],
)
def test_bad_parquet(tmp_path, cells, message):
    import pyarrow as pa
    import pyarrow.parquet

    rows = len(cells)
    content = {"path": ["a.png"] * rows, "label": ["x"] * rows, "bbox": cells}
    pyarrow.parquet.write_table(pa.table(content), tmp_path / "list.parquet")
    with pytest.raises(DataError, match=message):
        manifest(tmp_path / "list.parquet")


def test_two_boxes_of_one_image_are_told_apart(tmp_path):
    noise(6, 10).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    rows = ["a.png,x,0 0 4 4", "a.png,x,1 0 4 4", "b.png,x,0 0 4 4", "a.png,x,", "b.png,x,"]
    images = every_image(table(tmp_path, *rows))
    assert len(set(images.names)) == len(rows)
    digests = [content_digest(images, index) for index in range(len(rows))]
    assert digests[0] == digests[2]
    assert digests[3] == digests[4]
    assert len(set(digests)) == 3
    again = pickle.loads(pickle.dumps(images.subset([1])))
    assert content_digest(again, 0) == digests[1]
    assert np.array_equal(decode(again, 0, size=(4, 4)), decode(images, 1, size=(4, 4)))


def test_a_missing_image_with_a_box(tmp_path):
    images = every_image(table(tmp_path, "none.png,x,0 0 4 4"))
    for job in (lambda: decode(images, 0, size=(4, 4)), lambda: content_digest(images, 0)):
        with pytest.raises(DataError, match=r"^none.png#xywh=0,0,4,4: .*FileNotFoundError"):
            job()


def test_text_of_a_box():
    assert parse_box(None) is None
    assert parse_box("  ") is None
    assert parse_box((1, 2, 3, 4)) == (1.0, 2.0, 3.0, 4.0)
