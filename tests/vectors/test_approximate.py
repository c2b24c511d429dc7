"""The approximate index: what it finds beside exact search, what it covers, and when it is not used."""

import json
import sys

import numpy as np
import pytest

from circlet.vectors import Item, approximate, open_store, searching
from tests.vectors.cases import items_of, unit

DIM, ROWS = 18, 3000  # no multiple of what a code stands for


def in_classes(seed, count=ROWS, classes=300):
    """Unit rows around centres, the same ones for every seed."""
    centres = np.random.default_rng(-1 & 0xFF).standard_normal((classes, DIM))
    rows = centres[np.arange(count) % classes] + 0.5 * np.random.default_rng(seed).standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a store with an index."""
    folder = tmp_path_factory.mktemp("made") / "index"
    with open_store(folder, DIM, create=True) as store:
        store.put(items_of(*map(str, range(ROWS))), in_classes(0))
        quality = store.build_index(show_progress=False)
        assert (quality.method, quality.covered) == ("approximate", ROWS)
    return folder


@pytest.fixture
def store(made, tmp_path):
    import shutil

    shutil.copytree(made, tmp_path / "index")
    with open_store(tmp_path / "index") as opened:
        yield opened


def names(hits):
    return [[item.name for item in items] for items in hits.items]


def share(store, queries, k):
    found, expected = names(store.search(queries, k)), names(store.search(queries, k, exact=True))
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(found, expected, strict=True)])


def test_it_finds_what_exact_search_finds(store):
    queries = in_classes(1, 100)
    assert share(store, queries, 10) >= 0.97  # of other queries than those it was chosen by
    assert share(store, queries[:1], 10) >= 0.9
    found, expected = store.search(queries, 10), store.search(queries, 10, exact=True)
    same = np.array([a == b for a, b in zip(names(found), names(expected), strict=True)])
    assert np.array_equal(found.similarity[same], expected.similarity[same])  # whichever way they were found


def test_its_worth_is_measured(store):
    quality = store.search_quality()
    assert quality.method == "approximate"
    assert quality.recall >= 0.97
    assert (quality.vectors, quality.covered, quality.queries) == (ROWS, ROWS, 200)
    assert "approximate search of 3,000 vectors (3,000 by the index) finds" in quality.sentence
    (path,) = store.folder.glob("approximate-*")
    tuned = json.loads(path.read_bytes().partition(b"\n")[0])["tuned"]
    assert [each["k"] for each in tuned] == [10, 100]
    assert all(each["recall"] >= searching.RECALL for each in tuned)


def test_what_is_added_replaced_and_removed_later(store):
    new = unit(5, 40, DIM)
    store.put([Item(f"new {i}") for i in range(40)], new)
    assert [row[0] for row in names(store.search(new, 3))] == [f"new {i}" for i in range(40)]
    old = in_classes(0)[:20]
    store.put([Item(str(i), "moved") for i in range(10)], -old[:10])
    assert store.remove([str(i) for i in range(10, 20)]) == 10
    assert not {str(i) for i in range(20)} & {name for row in names(store.search(old, 10)) for name in row}
    assert [row[0] for row in names(store.search(-old[:10], 1))] == [str(i) for i in range(10)]
    assert store.search_quality().covered == ROWS - 20
    with open_store(store.location, read_only=True) as reader:
        assert names(reader.search(new, 5)) == names(store.search(new, 5))
    store.compact(show_progress=False)  # too small to be indexed again unless asked
    assert store.search_quality().method == "exact"
    assert len(store.build_index(show_progress=False).sentence) > 50
    assert store.search_quality().covered == ROWS + 30
    assert len(list(store.folder.glob("approximate-*"))) == 1


def test_most_were_removed(store):
    store.remove([str(i) for i in range(ROWS) if i % 300 != 7])
    assert names(store.search(in_classes(1, 2), 10)) == names(store.search(in_classes(1, 2), 10, exact=True))


def test_large_segments_get_one_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "APPROXIMATE_BYTES", 1 << 16)
    with open_store(tmp_path / "index", DIM, create=True) as store:
        store.put(items_of("a"), in_classes(0, 1))
        store.compact(show_progress=False)
        assert store.search_quality().method == "exact"
        store.put(items_of(*map(str, range(1200))), in_classes(0, 1200))
        assert "there is no approximate index" in store.search_quality().sentence
        store.compact(show_progress=False)
        assert store.search_quality().method == "approximate"
        store.compact(show_progress=False)  # nothing has changed
        assert len(list(store.folder.glob("approximate-*"))) == 1


def test_one_that_finds_too_little_is_not_used(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(searching, "_WIDER", (approximate.Setting(1, 11),))
    with open_store(tmp_path / "index", 64, create=True) as store:
        store.put(items_of(*map(str, range(2000))), unit(0, 2000, 64))  # no classes: the hardest there is
        quality = store.build_index(show_progress=False)
        assert (quality.method, quality.recall, quality.covered) == ("exact", 1.0, 0)
        assert "finds less than 99%" in quality.sentence
        assert "search stays exact" in capsys.readouterr().err
        store.compact(show_progress=False)  # is not tried again
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw[:50], lambda raw: b"", lambda raw: raw + b"x",
                                    lambda raw: raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:],
                                    lambda raw: raw.replace(b'"lists": ', b'"lists": 9', 1),
                                    lambda raw: raw.replace(b'"rows": 3', b'"rows": 4', 1),
                                    lambda raw: raw.replace(b'"dim"', b'"din"', 1)])  # fmt: skip
def test_a_damaged_one_is_told_of_and_not_used(store, change, capsys):
    (path,) = store.folder.glob("approximate-*")
    path.write_bytes(change(path.read_bytes()))
    queries = in_classes(1, 3)
    assert names(store.search(queries, 5)) == names(store.search(queries, 5, exact=True))
    told = capsys.readouterr().err
    assert "search is exact, since the approximate index cannot be used" in told
    assert path.name in told
    assert len(told.splitlines()) == 1
    assert store.search_quality().method == "exact"
    assert capsys.readouterr().err == ""


def test_without_faiss(store, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(searching, "APPROXIMATE_BYTES", 0)
    assert share(store, in_classes(1, 3), 5) == 1
    assert "circlet[search]" in capsys.readouterr().err
    with open_store(tmp_path / "new", DIM, create=True) as new:
        new.put(items_of(*map(str, range(1000))), in_classes(0, 1000))
        new.compact(show_progress=False)
        assert "faiss is not installed" in capsys.readouterr().err
        with pytest.raises(ImportError, match=r"circlet\[search\]"):
            new.build_index(show_progress=False)


def test_recall_counts_equally_near_ones():
    near = np.float32([0.9, 0.8, 0.8, 0.1])
    right = searching.Found(near[:3], np.array([0, 1, 2]))
    found = searching.Found(near[[0, 2, 3]], np.array([0, 2, 3]))
    assert searching.recall([found], [right], np.array([7]), 2) == 1
    assert searching.recall([found], [right], np.array([7]), 3) == pytest.approx(2 / 3)
    assert searching.recall([found], [right], np.array([0]), 2) == 0.5
