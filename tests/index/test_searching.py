"""Neighbours and classes out of a store are those of brute force, with copies and images without a class too."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.index import searching
from circlet.index.calibrating import draw
from circlet.index.memory import MemoryStore
from circlet.index.searching import candidates, neighbours
from circlet.vectors import Item, open_store


def filled(store, number, rng, *, contents=5, labels=("", "", "ant", "bee", "cow")):
    rows = rng.standard_normal((number, store.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    items = [Item(f"{i}", str(rng.choice(labels)), str(rng.integers(contents))) for i in range(number)]
    store.put(items, rows)
    return rows, items


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_neighbours_are_those_of_brute_force(number, k, contents, seed):
    rng = np.random.default_rng(seed)
    store = MemoryStore(4)
    rows, items = filled(store, number, rng, contents=contents)
    queries = rng.standard_normal((3, 4)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for query, found in zip(queries, neighbours(store, queries, k, ["0"] * 3), strict=True):
        order = np.argsort(-(rows @ query), kind="stable")
        others = [items[i].name for i in order if items[i].content != "0"]
        assert [each.name for each in found if not each.same] == others[:k]
        same = [each.name for each in found if each.same]
        assert same == [items[i].name for i in order if items[i].content == "0"][: len(same)]
        assert [each.same for each in found] == sorted([each.same for each in found], reverse=True)


@settings(max_examples=40)
@given(st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_classes_are_those_of_brute_force(number, seed):
    rng = np.random.default_rng(seed)
    store = MemoryStore(4)
    labels = tuple(f"class {i}" for i in range(rng.integers(1, 9)))
    rows, items = filled(store, number, rng, labels=("",) * 40 + labels)
    query = rows[:1] if number else np.eye(1, 4, dtype=np.float32)
    best = {}
    for row, item in zip(rows, items, strict=True):
        if item.label:
            best[item.label] = max(best.get(item.label, -2.0), float(row @ query[0]))
    expected = sorted(best, key=lambda label: -best[label])[: searching.NUM_CANDIDATES]
    found = candidates(store, query, len(best))[0]
    assert [each.label for each in found] == expected
    assert [each.similarity for each in found] == pytest.approx([best[label] for label in expected], abs=1e-6)


def test_no_more_is_asked_for_than_any_store_gives(monkeypatch):
    monkeypatch.setattr(searching, "MOST", 100)
    store = MemoryStore(4)
    filled(store, 400, np.random.default_rng(0), contents=1, labels=("",))
    asked = []
    real = store.search
    monkeypatch.setattr(store, "search", lambda rows, k: asked.append(k) or real(rows, k))
    assert candidates(store, np.eye(1, 4, dtype=np.float32), 3) == [[]]
    assert len(neighbours(store, np.eye(1, 4, dtype=np.float32), 5, ["0"])[0]) == 100
    assert max(asked) == 100


def test_the_store_in_memory_is_like_that_in_a_folder(tmp_path):
    rng = np.random.default_rng(1)
    memory, folder = MemoryStore(6), open_store(tmp_path / "store", 6, create=True)
    with folder:
        for store in (memory, folder):
            filled(store, 50, np.random.default_rng(2))
            store.remove(["3", "40", "nobody"])
            filled(store, 20, np.random.default_rng(3))
            store.set_meta({"a": [1, "b"]})
        assert memory.items() == folder.items()
        assert (len(memory), memory.meta()) == (len(folder), folder.meta())
        np.testing.assert_array_equal(memory.vectors(["7", "30"]), folder.vectors(["7", "30"]))
        queries = rng.standard_normal((4, 6)).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        one, other = memory.search(queries, 60), folder.search(queries, 60)
        np.testing.assert_allclose(one.similarity, other.similarity, atol=1e-6)
        assert one.items == other.items
        for store in (memory, folder):
            with pytest.raises(ValueError, match="names: found 'nobody'"):
                store.vectors(["7", "nobody"])


def test_removed_rows_do_not_stay_in_memory(monkeypatch):
    monkeypatch.setattr("circlet.index.memory._DEAD", 10)
    store = MemoryStore(4)
    filled(store, 5, np.random.default_rng(0))
    items = store.items()
    for seed in range(20):
        rows, _ = filled(store, 5, np.random.default_rng(seed), labels=("",), contents=1)
    assert len(store._state.tail) <= 20
    assert [item.name for item in store.items()] == [item.name for item in items]
    np.testing.assert_array_equal(store.vectors([item.name for item in items]), rows)


def test_no_memory_is_set_aside_for_neighbours_that_are_not_there(tmp_path):
    with open_store(tmp_path / "store", 4, create=True) as store:
        filled(store, 6, np.random.default_rng(0))
        assert len(neighbours(store, np.eye(4, dtype=np.float32), 10**12, [""] * 4)[0]) == 6


def test_classes_are_drawn_whole_and_a_large_one_takes_no_room():
    items = [Item(f"{label}/{i}", label) for label, count in [("misc", 900), *((f"{c}", 5) for c in range(50))]
             for i in range(count)]  # fmt: skip
    assert draw(items, most=len(items)) == items
    drawn = draw([*items, Item("none")], most=100)
    counts = Counter(item.label for item in drawn)
    assert len(drawn) == len(set(drawn)) <= 100
    assert counts.pop("misc", 10) == 10
    assert len(counts) >= 18
    assert set(counts.values()) == {5}
