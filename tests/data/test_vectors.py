"""Vectors out of files and arrays: what is read, and what each bad file says, by row."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from circlet.data import DataError, content_digest, decode, glyphs, load_pixels
from circlet.data.pixels import Decoding
from circlet.data.vector_files import read_vectors, vector_dim
from circlet.data.vector_reader import MOST_NUMBERS, vector_set, vectors_of
from circlet.data.vector_sets import every_vector, vectors, vectors_to_test

ROWS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
LABELS = [f"class {i // 3}" for i in range(12)]


def parquet(file, rows=ROWS, **columns):
    columns = {name: cells for name, cells in columns.items() if cells is not None}
    kind = pa.list_(pa.float32()) if isinstance(rows, np.ndarray) else None
    pq.write_table(pa.table({**columns, "embedding": pa.array(list(rows), kind)}), file)
    return file


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float16()), pa.list_(pa.float32(), 5)]
)
@pytest.mark.parametrize(("path", "label"), [("path", "label"), ("id", "class"), ("name", "label")])
def test_parquet_of_any_list_of_floats_and_names(tmp_path, kind, path, label):
    rows = ROWS.astype(np.float16) if "16" in str(kind) or "half" in str(kind) else ROWS
    ids = [f"{i}" for i in range(12)]
    table = pa.table({path: ids, label: LABELS, "vector": pa.array(list(rows), kind), "other": [{"a": 1}] * 12})
    pq.write_table(table, tmp_path / "f.parquet")
    found = read_vectors(tmp_path / "f.parquet")
    np.testing.assert_array_equal(found.rows, rows.astype(np.float32))
    assert found.rows.dtype == np.float32
    assert (found.names, found.labels) == (tuple(ids), LABELS)
    assert vector_dim(tmp_path / "f.parquet") == 5


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i2", "u1"])
def test_npy_with_a_table_beside_it(tmp_path, dtype):
    rows = (np.arange(60).reshape(12, 5) + 1).astype(dtype)
    np.save(tmp_path / "f.npy", rows)
    (tmp_path / "f.csv").write_text("label,group\n" + "".join(f"{label},g{i}\n" for i, label in enumerate(LABELS)))
    splits = vectors(tmp_path / "f.npy", held_out=2)
    assert (splits.train.num_classes, splits.query.num_classes, len(splits.query)) == (2, 2, 6)
    assert set(splits.query.names) < {f"row {i}" for i in range(12)}
    for images in (splits.train, splits.query):
        numbers = [int(name.split()[1]) for name in images.names]
        np.testing.assert_array_equal(vectors_of(images.read), rows[numbers].astype(np.float32))
        assert images.groups is not None


def test_fortran_order_and_many_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("circlet.data.vector_files._BATCH_BYTES", 50)
    monkeypatch.setattr("circlet.data.vector_files._parts.__defaults__", (5,))
    np.save(tmp_path / "f.npy", np.asfortranarray(ROWS))
    np.testing.assert_array_equal(read_vectors(tmp_path / "f.npy").rows, ROWS)
    np.testing.assert_array_equal(read_vectors(parquet(tmp_path / "f.parquet")).rows, ROWS)


def test_what_circlet_embed_writes_has_the_names_of_its_classes(tmp_path):
    numbers = [i // 3 for i in range(12)]
    path = parquet(tmp_path / "e.parquet", path=[f"{i}" for i in range(12)], **{"class": LABELS, "label": numbers})
    assert read_vectors(path).labels == LABELS
    path = parquet(tmp_path / "e.parquet", **{"class": ["all"] * 12, "label": numbers})  # of another meaning
    assert read_vectors(path).labels == list(map(str, numbers))


def test_the_column_split_and_parts_to_test_on(tmp_path):
    split = ["train"] * 6 + ["query", "gallery", "gallery"] * 2
    path = parquet(tmp_path / "f.parquet", label=LABELS, split=split)
    splits = vectors(path)
    assert (len(splits.train), len(splits.query), len(splits.gallery)) == (6, 2, 4)
    tested = vectors_to_test(path)
    assert (tested.query.names, len(tested.gallery)) == (("row 6", "row 9"), 4)
    assert len(every_vector(path)) == 12
    assert vectors_to_test(parquet(tmp_path / "g.parquet", label=LABELS)).gallery is None
    assert every_vector(parquet(tmp_path / "h.parquet")).class_names == (".",)


def broken(row, column=2, value=np.nan):
    rows = ROWS.copy()
    rows[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ({}, broken(7), r"f.parquet, row 7: found nan as number 2 of the vector, expected finite"),
        ({}, broken(3, 4, -np.inf), r"f.parquet, row 3: found -inf as number 4"),
        ({}, [[1e300] * 5] * 12, r"f.parquet, row 0: found 1e\+300 as number 0 .*single precision"),
        ({}, [*ROWS[:9].tolist(), [0.0] * 5, *ROWS[10:].tolist()], r"f.parquet, row 9: found nothing but zeros"),
        ({}, [*ROWS[:9].tolist(), [1.0], *ROWS[10:].tolist()], r"f.parquet, row 9: found a vector of 1 numbers,.* 5"),
        ({}, [*ROWS[:9].tolist(), None, *ROWS[10:].tolist()], r"f.parquet, row 9: found an empty cell in"),
        ({}, [*ROWS[:9].tolist(), [1.0, None, 0, 0, 0], *ROWS[10:].tolist()], r"f.parquet, row 9: found an empty num"),
        ({}, [["a"]] * 12, r"f.parquet: found list<.*string> in column 'embedding', expected text or numbers"),
        ({}, [1.0] * 12, r"f.parquet: found double in column 'embedding', expected lists of numbers"),
        ({}, [[]] * 12, r"f.parquet: found list<.*null> in column 'embedding', expected lists of numbers"),
        ({}, np.empty((12, 0), np.float32), r"f.parquet, row 0: found 0 numbers, expected 1 to 8,192"),
        ({"id": [*range(11), 3]}, ROWS, r"f.parquet, row 3 and row 11: found the id '3' twice, expected one row"),
        ({"label": None}, ROWS, r"f.parquet: found no label, expected a column label"),
        ({"label": [*LABELS[:4], None, *LABELS[5:]]}, ROWS, r"f.parquet, row 4: found an empty cell in column 'label'"),
        ({"label": ["ant"] * 12}, ROWS, r"f.parquet: found one class \('ant'\), expected at least two"),
        ({"label": range(12)}, ROWS, r"f.parquet: found 12 classes of one vector each, expected some with two"),
        ({"label": ["ant", "ant "] * 6}, ROWS, r"row 0 and row 1: found 'ant' and 'ant ' in label"),
        ({"split": ["train"] * 11 + ["tset"]}, ROWS, r"f.parquet, row 11: found split 'tset'"),
        ({"group": ["g"] * 12}, ROWS, r"f.parquet, row \d+: groups: found 4 classes that shared groups join"),
    ],
)  # fmt: skip
def test_a_bad_parquet_file_is_one_line_with_the_row(tmp_path, columns, rows, message):
    path = parquet(tmp_path / "f.parquet", rows, **{"label": LABELS, **columns})
    with pytest.raises(DataError, match=message) as error:
        vectors(path)
    assert "\n" not in str(error.value)


def test_no_rows_no_column_too_many_numbers_and_no_file(tmp_path):
    empty = pa.table({"label": pa.array([], pa.string()), "embedding": pa.array([], pa.list_(pa.float32()))})
    pq.write_table(empty, tmp_path / "e.parquet")
    for read in (vectors, vector_dim):
        with pytest.raises(DataError, match=r"e.parquet: found no row, expected at least one"):
            read(tmp_path / "e.parquet")
    pq.write_table(pa.table({"label": LABELS, "vectr": [1.0] * 12}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c.parquet: found the columns label, vectr, 0 of them of vectors"):
        vectors(tmp_path / "c.parquet")
    np.save(tmp_path / "w.npy", np.ones((2, MOST_NUMBERS + 1), np.float32))
    with pytest.raises(DataError, match=r"w.npy, row 0: found 8,193 numbers, .*TruncatedSVD"):
        vectors(tmp_path / "w.npy")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"t.parquet: found no Parquet file that can be read"):
        vectors(tmp_path / "t.parquet")
    for name, expected in (
        ("none.parquet", "found nothing"),
        ("none.npy", "found nothing"),
        ("x.csv", "suffix '.csv'"),
    ):
        with pytest.raises(DataError, match=expected):
            vectors(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array([["a", "b"]]), r"f.npy: found <U1 \(1, 2\), expected numbers"),
        (np.ones((3, 2), complex), r"f.npy: found complex128 \(3, 2\), expected numbers"),
        (np.ones(3), r"f.npy: found float64 \(3,\), expected numbers"),
        (np.array([[{}]]), r"f.npy: found no array that can be read .*Python objects"),
        (np.zeros((2, 2)), r"f.npy, row 0: found nothing but zeros"),
    ],
)
def test_a_bad_array(tmp_path, content, message):
    np.save(tmp_path / "f.npy", content, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        vectors(tmp_path / "f.npy")


def test_a_short_array_is_not_taken_on_its_word_and_rows_must_agree(tmp_path):
    np.save(tmp_path / "f.npy", ROWS)
    whole = (tmp_path / "f.npy").read_bytes()
    (tmp_path / "f.csv").write_text("label\nant\n")
    with pytest.raises(DataError, match=r"f.csv: found 1 rows, expected 12, as many as f.npy has"):
        vectors(tmp_path / "f.npy")
    (tmp_path / "f.npy").write_bytes(whole.replace(b"(12, 5)", b"(9999999, 9999999)")[: len(whole)])
    with pytest.raises(DataError, match=r"f.npy: found no array that can be read"):
        vectors(tmp_path / "f.npy")


def test_sets_of_arrays_and_their_pictures():
    images = vector_set(ROWS, LABELS)
    assert decode(images, 3, size=(24, 24)).shape == (3, 24, 24)
    assert content_digest(images, 4) == content_digest(images.subset([4]), 0) != content_digest(images, 5)
    pixels = load_pixels(images.subset([2, 0]), Decoding((1, 5), 1, "vector"))
    np.testing.assert_array_equal(pixels.memory.flatten(1), ROWS[[2, 0]])
    for given, message in (
        ({"rows": ROWS[0]}, r"vectors: found float32 \(5,\), expected numbers \(n, dim\)"),
        ({"rows": ROWS, "labels": ["a"]}, "labels: found 1, expected 12"),
        ({"rows": ROWS, "names": ["a"] * 12}, "names: found 'a' twice"),
        ({"rows": broken(5)}, "vectors, row 5: found nan"),
    ):
        with pytest.raises(DataError, match=message):
            vector_set(**given)


def test_images_are_not_taken_for_vectors_nor_the_other_way():
    for images, decoding, message in (
        (vector_set(ROWS), Decoding((8, 8)), "vectors: found with a network for images"),
        (glyphs().query.subset([0]), Decoding((1, 5), 1, "vector"), "images: found images, expected vectors of 5 numb"),
        (vector_set(ROWS), Decoding((1, 6), 1, "vector"), "vectors: found 5 numbers in each, expected 6"),
    ):
        with pytest.raises(DataError, match=message):
            load_pixels(images, decoding)
