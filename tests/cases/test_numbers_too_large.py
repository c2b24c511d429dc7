"""Numbers beyond 64 bits, times beyond the calendar, and tables that are damaged: an error that says where."""

import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from circlet.data import DataError, FileReader, ImageSet, manifest, market1501, msmt17
from circlet.data.listing import Line, read_lines
from circlet.evaluate import reid, retrieval
from tests.fuzz.guard import guarded

DIGITS = "99999999999999999999"  # 20


def written(tmp_path, content):
    path = tmp_path / "list.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_cameras_labels_and_groups_of_20_digits_are_text_in_a_manifest(tmp_path):
    rows = f"a.png,{DIGITS},{DIGITS},1\nb.png,y,{DIGITS}0,{DIGITS}\n"
    splits = manifest(written(tmp_path, f"path,label,camera,group\n{rows}"))
    assert {splits.train.class_names, splits.query.class_names} == {(DIGITS,), ("y",)}
    assert sorted([*splits.train.cameras, *splits.query.cameras]) == [0, 1]


@pytest.mark.parametrize("name", [f"0002_c{DIGITS}s1.jpg", f"{DIGITS}_c1s1.jpg", "0002_c\u0661s1.jpg"])
def test_market_names_of_20_digits(tmp_path, name):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bounding_box_train" / name).touch()
    with pytest.raises(
        DataError, match=r"found no id from 1 on and camera, expected ID_cCAMERA... of at most 18 digits"
    ):
        market1501(tmp_path)


def test_msmt17_camera_of_20_digits(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("train", "val", "query", "gallery"):
        (tmp_path / f"list_{name}.txt").write_text(f"0000/0000_000_{DIGITS}_0303morning.jpg 0\n")
    with pytest.raises(
        DataError, match=r"list_query.txt, line 1: found .*, expected .* the camera of at most 18 digits"
    ):
        msmt17(tmp_path)


def test_ids_of_20_digits():
    images = ImageSet.from_classes(["-1", DIGITS], ["1", "2"], FileReader("nowhere", ("1", "2")))
    with pytest.raises(
        DataError, match=f"class_names: found '{DIGITS}', expected whole numbers up to 9223372036854775807"
    ):
        images.ids()


@pytest.mark.parametrize("field", ["cameras", "groups", "categories"])
@pytest.mark.parametrize("value", [[10**20], np.array([2**64 - 1], dtype=np.uint64), [2**63]])
def test_numbers_of_a_set_beyond_64_bits(field, value):
    with pytest.raises(DataError, match=f"{field}: found (object|18446744073709551615|9223372036854775808)"):
        ImageSet(np.zeros(1, np.int64), ("a",), ("1",), FileReader("nowhere", ("1",)), **{field: value})


@pytest.mark.parametrize("text", [DIGITS, "1_000", "9" * 5000, "\u0661", "1.0"])
def test_a_number_in_a_list(tmp_path, text):
    with pytest.raises(DataError, match=r"list.txt, line 3: found '.{1,60}', expected a whole number of at most 18"):
        Line(tmp_path / "list.txt", 3, (text,)).integer(0)


def test_labels_and_cameras_in_python_beyond_64_bits():
    rows = torch.eye(2)
    with pytest.raises(ValueError, match="labels: found no numbers"):
        retrieval(rows, [10**20, 1])
    with pytest.raises(ValueError, match="labels: found numbers beyond 63 bits"):
        retrieval(rows, torch.tensor([2**64 - 1, 1], dtype=torch.uint64))
    with pytest.raises(ValueError, match="query_cams: found no numbers"):
        reid(rows, [1, 2], [10**20, 1], rows, [1, 2], [0, 0])


@pytest.mark.parametrize("moment", ["1e300", DIGITS, "1717171717171", "-1e12"])
def test_a_time_beyond_the_calendar(tmp_path, moment):
    with pytest.raises(
        DataError, match=r"line 3: found the time '.*', expected one of the years 1 to 9999, in seconds"
    ):
        manifest(written(tmp_path, f"path,label,time\na.png,x,5\nb.png,y,{moment}\n"))


def test_a_timestamp_column_beyond_the_calendar(tmp_path):
    times = pa.array([5, 10**15], pa.timestamp("s"))
    pyarrow.parquet.write_table(
        pa.table({"path": ["a", "b"], "label": ["x", "y"], "time": times}), tmp_path / "l.parquet"
    )
    with pytest.raises(DataError, match=r"l.parquet, row .*: found"):
        manifest(tmp_path / "l.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na.png,x\nb\xff.png,y\n", r"line 3: found bytes that are no UTF-8 in column 'path' \('b\\udcff"),
        (b"path,lab\xffel\na.png,x\n", r"found the columns path, lab\\udcffel, without 'label'; .* \(in UTF-8\)"),
        ("path,label\na.png,x\n".encode("utf-16"), r"found the columns .*, without 'path'; .* \(in UTF-8\)"),
        (b"path,label\na\0.png,x\n", r"line 2: found a zero byte in column 'path' \('a\\x00.png'\)"),
        (bytes(100), r"found the columns .*, without 'path'"),
        (b'path,label\na.png,x\nb.png,"y\nc.png,z\n', r"line 3: found no readable row \(a quote that is not closed\)"),
        (
            b'path,label\na.png,"x\nb.png,y"\nc.png,z\n',
            r"line 2: found a line break \(a quote may be missing\) in column",
        ),
        (b'path,label\na.png,"x"y\n', r"line 2: found no readable row \(',' expected after '\"'\)"),
        (b"path,label\na.png," + b"x" * 100_000 + b"\n", r"line 2: found 100,000 characters in column 'label'"),
        (b"path,label\na.png," + b"x" * 3_000_000 + b"\n", r"line 2: found more than 1,048,576 characters"),
        (b"path,label\na.png,x\n\nb.png,\n", r"line 4: found an empty cell"),
        (b"path,label,note\na.png,x,\nb.png,y," + b"x" * 140_000 + b"\n", r"line 3: found a cell of more than 131,072"),
        (b"path,label\na.png,x,z\n", r"line 2: found 3 cells, expected 2, as many as the header has"),
        (b'path,label,note\na.png,x,"two\nlines"\nb.png,,\n', r"line 4: found an empty cell in column 'label'"),
    ],
)
def test_a_damaged_manifest(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as error:
        manifest(written(tmp_path, content))
    assert str(error.value).startswith(str(tmp_path / "list.csv"))
    assert len(str(error.value)) < 600


def test_what_nobody_asks_for_may_hold_anything(tmp_path):
    content = b'\xef\xbb\xbfpath,label,note\r\na.png,x,"two\nlines"\r\nb.png,y,\xff\0\r\n\r\n'
    splits = manifest(written(tmp_path, content))
    assert sorted([*splits.train.names, *splits.query.names]) == ["a.png", "b.png"]


def _bad_text(*cells):
    offsets = np.cumsum([0, *map(len, cells)]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(cells), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(cells))])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"path": _bad_text(b"a", b"\xff"), "label": ["x", "y"]},
            r"row 1: found bytes that are no UTF-8 in column 'path'",
        ),
        (
            {"path": ["a", "b"], "label": _bad_text(b"a", b"\xff")},
            r"row 1: found bytes that are no UTF-8 in column 'label'",
        ),
        ({"path": ["a", "b"], "label": ["x", "y"], "bbox": _bad_text(b"1 1 1 1", b"\xff")}, r"row 1: .* column 'bbox'"),
        (
            {"path": ["a"], "label": ["x"], "bbox": pa.array([10**15], pa.timestamp("s"))},
            r"row 0: found what cannot be read in column 'bbox'",
        ),
        ({"path": ["a", "b"], "label": [1.0, float("nan")]}, r"row 1: found an empty cell in column 'label'"),
        ({"path": [b"\xff"], "label": ["x"]}, r"found binary in column 'path'"),
        ({"path": ["a"], "label": [{"x": 1}]}, r"found struct<x: int64> in column 'label'"),
        ({"path": ["a"], "label": ["x"], "bbox": ["1" * 5000]}, r"row 0: found the box '1{77}...', expected x y width"),
    ],
)
def test_a_damaged_parquet_table(tmp_path, columns, message):
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(DataError, match=message):
        manifest(tmp_path / "list.parquet")


def test_a_small_parquet_file_of_very_many_rows(tmp_path):
    constant = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000_000, np.int8)), ["x"])
    pyarrow.parquet.write_table(pa.table({"path": constant, "label": constant}), tmp_path / "list.parquet")
    with guarded(), pytest.raises(DataError, match=r"found [\d,]+ bytes in the columns path, label, expected at most"):
        manifest(tmp_path / "list.parquet")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_a_long_text_that_a_parquet_file_stores_once(tmp_path, kind):
    texts = pa.array(["x", "y" * 1_000_000]).cast(kind)
    label = pa.DictionaryArray.from_arrays(pa.array(np.arange(10_000, dtype=np.int16) > 6000).cast(pa.int8()), texts)
    names = pa.array([f"{i}.png" for i in range(10_000)])
    pyarrow.parquet.write_table(pa.table({"path": names, "label": label}), tmp_path / "list.parquet")
    with (
        guarded(),
        pytest.raises(DataError, match=r"found a text of 1,000,000 bytes in column 'label', expected at most"),
    ):
        manifest(tmp_path / "list.parquet")


def test_many_texts_that_a_parquet_file_stores_once(tmp_path, monkeypatch):
    monkeypatch.setattr("circlet.data.parquet_columns._MOST_BYTES", 2**21)
    names = pa.array([f"{i}.png" for i in range(5000)])
    label = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int8)), ["x" * 4000])
    pyarrow.parquet.write_table(pa.table({"path": names, "label": label}), tmp_path / "list.parquet")
    with pytest.raises(DataError, match=r"found [\d,]+ bytes in the columns path, label, expected at most 2,097,152"):
        manifest(tmp_path / "list.parquet")


@pytest.mark.parametrize("boxes", [[["1", "2"]], [{"x": "1"}]])
def test_lists_of_texts_in_a_parquet_file(tmp_path, boxes):
    pyarrow.parquet.write_table(pa.table({"path": ["a"], "label": ["x"], "bbox": boxes}), tmp_path / "list.parquet")
    with pytest.raises(DataError, match=r"found (list|struct)<.*> in column 'bbox', expected text or numbers"):
        manifest(tmp_path / "list.parquet")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "txt"])
def test_a_pipe_in_place_of_a_list(tmp_path, suffix):
    os.mkfifo(tmp_path / f"list.{suffix}")
    with guarded(), pytest.raises(DataError, match=rf"list.{suffix}: found a named pipe, expected a regular file"):
        read_lines(tmp_path / "list.txt", 1) if suffix == "txt" else manifest(tmp_path / f"list.{suffix}")


def test_lines_that_python_ends_twice_on_windows(tmp_path):
    splits = manifest(written(tmp_path, b"path,label\r\r\na.png,x\r\r\nb.png,y\r\r\n"))
    assert sorted([*splits.train.names, *splits.query.names]) == ["a.png", "b.png"]
    with pytest.raises(DataError, match="it is empty"):
        manifest(written(tmp_path, b"\r\r\n\n"))


def test_the_folder_of_a_parquet_file_gives_it_no_columns(tmp_path):
    (tmp_path / "label=z").mkdir()
    pyarrow.parquet.write_table(pa.table({"path": ["a"]}), tmp_path / "label=z" / "list.parquet")
    with pytest.raises(DataError, match="without 'label'"):
        manifest(tmp_path / "label=z" / "list.parquet")


def test_one_long_camera_takes_no_memory_for_the_others(tmp_path):
    rows = "".join(f"{i}.png,{i % 9},c{i}\n" for i in range(3000))
    path = written(tmp_path, f"path,label,camera\n{rows}x.png,0,{'c' * 4_000}\n")
    began = time.monotonic()
    assert len(manifest(path).train) > 0
    assert time.monotonic() - began < 60
