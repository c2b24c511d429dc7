"""Parquet out of a store and into one, and files that are no such ones."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from circlet.data import ImageSet
from circlet.data.embedding_table import write_embeddings
from circlet.vectors import Item, open_store, parquet
from tests.vectors.cases import AXES, items_of, unit


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "index", 4, create=True) as opened:
        yield opened


def test_there_and_back(store, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 64)
    items = [Item("a/é.jpg", "cat", "00"), Item("b\n", "", ""), *items_of(*"cdefgh")]
    store.put(items, unit(0, 8))
    store.remove(["c"])
    path = store.export_parquet(tmp_path / "new" / "out.parquet")
    table = pyarrow.parquet.read_table(path)
    assert table.column_names == ["name", "label", "content", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 4)
    with open_store(tmp_path / "other", 4, create=True) as other:
        for _ in range(2):
            assert other.import_parquet(path) == 7
        assert other.items() == store.items()
        names = [item.name for item in store.items()]
        assert np.array_equal(other.vectors(names), store.vectors(names))
    with open_store(tmp_path / "five", 5, create=True) as five, pytest.raises(ValueError, match="lists of 5 numbers"):
        five.import_parquet(path)


def test_nothing(store, tmp_path):
    with open_store(tmp_path / "other", 4, create=True) as other:
        assert other.import_parquet(store.export_parquet(tmp_path / "empty.parquet")) == 0


def test_what_circlet_embed_writes(store, tmp_path):
    images = ImageSet(np.array([1, 0]), ("dog", "cat"), ("x/a.jpg", "x/b.jpg"), read=lambda i: None)
    table = write_embeddings(tmp_path / "embedded", images, AXES[:2])[1]
    assert store.import_parquet(table) == 2
    assert [(item.label, item.content) for item in store.items()] == [("cat", ""), ("dog", "")]
    assert np.array_equal(store.vectors([item.name for item in store.items()]), AXES[:2])


def table_of(**columns):
    return pa.table({"name": ["a", "b"], "label": ["x", "y"], "embedding": AXES[:2].tolist(), **columns})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_of().drop(["name"]), "found the columns label, embedding, expected name"),
        (table_of().drop(["embedding"]), "expected name"),
        (table_of(name=["a", "a"]), r"rows 0 to 1: items: found the name 'a' twice"),
        (table_of(name=["a", None]), "found nothing"),
        (table_of(name=["a", "b" * 5000]), "bytes in column 'name', expected at most 4,096"),
        (table_of(embedding=[1.0, 2.0]), "found double in column 'embedding'"),
        (table_of(embedding=["a", "b"]), "in column 'embedding'"),
        (table_of(embedding=[[1.0, 0, 0, 0], [1.0]]), "lists of 4 numbers"),
        (table_of(embedding=[[1.0, 0, 0, 0], None]), "lists of 4 numbers"),
        (table_of(embedding=[[1.0, 0, 0, 0], [2.0, 0, 0, 0]]), "a row of length 2"),
        (table_of(embedding=[[1.0, 0, 0, 0], [float("nan"), 0, 0, 0]]), "a row of length nan"),
        (table_of(embedding=[[1.0, 0, 0, 0], [1.0, None, 0, 0]]), "a row of length nan"),
    ],
)
def test_tables_that_cannot_be(store, tmp_path, table, message):
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=message) as caught:
        store.import_parquet(tmp_path / "in.parquet")
    assert "in.parquet" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(store) == 0


def test_files_that_are_no_parquet(store, tmp_path):
    path = store.export_parquet(tmp_path / "in.parquet")
    raw = path.read_bytes()
    for damaged in (b"", b"PAR1", raw[:-5], raw[: len(raw) // 2], b"x" * 1000):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"in\.parquet: found no Parquet file"):
            store.import_parquet(path)
    with pytest.raises(ValueError, match="found a folder"):
        store.import_parquet(tmp_path)
    with pytest.raises(FileNotFoundError):
        store.import_parquet(tmp_path / "none")
