"""What every store does, whichever it is: the same tests for the folder, for Milvus, and for PostgreSQL."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.vectors import Item, Store, open_store

DIM = 16
KINDS = ["embedded", pytest.param("milvus"), pytest.param("postgres", marks=pytest.mark.subprocess)]
CAT, DOG = Item("a.jpg", "cat", "00ff"), Item("b.jpg", "dog")


@pytest.fixture(params=KINDS)
def location(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_server").table()
    return str(tmp_path / "index") if request.param == "embedded" else f"milvus:{tmp_path / 'index.db'}"


@pytest.fixture
def opened(location):
    """Opens the store; all are closed at the end."""
    stores = []

    def open_it(**options):
        stores.append(open_store(location, **options))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def store(opened):
    return opened(dim=DIM, create=True)


def units(count, seed=0, dim=DIM):
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def items(count, start=0):
    return [Item(f"{i}.jpg", f"class {i % 3}", f"{i:032x}") for i in range(start, start + count)]


def one_line(error):
    return len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 600


def test_nothing_there(opened, location):
    with pytest.raises((OSError, ValueError), match="index" if "index" in location else "t_") as error:
        opened()
    assert one_line(error)


def test_opened_again(store, opened, location):
    store.put(items(3), units(3))
    store.set_meta({"model": "abc"})
    assert isinstance(store, Store)
    assert (store.dim, store.location) == (DIM, location)
    store.close()
    for options in ({}, {"dim": DIM}, {"dim": DIM, "create": True}, {"read_only": True}):
        again = opened(**options)
        assert (again.items(), again.meta(), again.dim) == (items(3), {"model": "abc"}, DIM)
        np.testing.assert_array_equal(again.vectors(["2.jpg", "0.jpg"]), units(3)[[2, 0]])
        again.close()


@pytest.mark.parametrize("create", [False, True])
def test_vectors_of_another_network(store, opened, create):
    store.close()
    with pytest.raises(ValueError, match=f"found vectors of {DIM} numbers, expected 12") as error:
        opened(dim=12, create=create)
    assert one_line(error)


def test_vectors_are_kept_to_the_bit_and_in_order(store):
    rows = units(50)
    rows[3] = np.float32([1, 1e-30, 1e-8, *[0] * (DIM - 3)])
    store.put(items(50)[::-1], rows[::-1])
    assert len(store) == 50
    assert store.items() == items(50)[::-1]
    found = store.vectors([item.name for item in items(50)])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows)


def test_replaced_in_its_place(store):
    store.put([CAT, DOG], units(2))
    store.put([Item("c.jpg"), Item("a.jpg", "lynx", "11")], units(2, 1))
    assert store.items() == [Item("a.jpg", "lynx", "11"), DOG, Item("c.jpg")]
    np.testing.assert_array_equal(store.vectors(["a.jpg", "b.jpg"]), [units(2, 1)[1], units(2)[1]])


def test_repeating_a_call_changes_nothing(store):
    for _ in range(2):
        store.put(items(20), units(20))
        assert store.items() == items(20)
        np.testing.assert_array_equal(store.vectors(["7.jpg"]), units(20)[[7]])


def test_removed(store):
    store.put(items(5), units(5))
    assert store.remove(["1.jpg", "none.jpg", "1.jpg", "3.jpg"]) == 2
    assert store.remove(["1.jpg"]) == 0
    assert [item.name for item in store.items()] == ["0.jpg", "2.jpg", "4.jpg"]
    assert [hit.name for hit in store.search(units(5)[[1]], 5).items[0]].count("1.jpg") == 0
    store.put([items(5)[1]], units(5)[[1]])
    assert [item.name for item in store.items()] == ["0.jpg", "2.jpg", "4.jpg", "1.jpg"]


def test_neighbours_are_those_of_brute_force(store):
    rows, queries = units(200), units(7, 1)
    store.put(items(120), rows[:120])
    store.put(items(80, 120), rows[120:])
    similarity = queries.astype(np.float64) @ rows.astype(np.float64).T
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :10]
    hits = store.search(queries, 10)
    assert hits.similarity.dtype == np.float32
    np.testing.assert_allclose(hits.similarity, np.take_along_axis(similarity, best, 1), atol=2e-6)
    assert hits.items == [[items(200)[i] for i in row] for row in best]


def test_ties_by_order_of_addition(store):
    rows = units(60)
    rows[10:40] = rows[0]
    store.put(items(60)[::-1], rows[::-1])
    store.put([items(60)[20]], rows[[20]])  # keeps its place
    expected = [f"{i}.jpg" for i in range(39, 9, -1)]
    for k in (1, 3, 29, 30):
        hits = store.search(rows[[0, 11]], k)
        assert [[hit.name for hit in row] for row in hits.items] == [expected[:k]] * 2
        assert len(set(hits.similarity.ravel().tolist())) == 1


def test_fewer_than_wanted(store):
    hits = store.search(units(2), 3)
    assert (hits.items, hits.similarity.tolist()) == ([[], []], [[-np.inf] * 3] * 2)
    store.put([CAT], units(1))
    hits = store.search(units(1), 3)
    assert hits.items == [[CAT]]
    np.testing.assert_allclose(hits.similarity, [[1, -np.inf, -np.inf]], atol=1e-6)


def test_nothing_asked(store):
    store.put([], np.empty((0, DIM), np.float32))
    assert store.remove([]) == 0
    assert store.vectors([]).shape == (0, DIM)
    assert store.search(np.empty((0, DIM), np.float32), 2).similarity.shape == (0, 2)
    assert (len(store), store.items(), store.meta()) == (0, [], {})


NAMES = ["../../etc/passwd", "a'; DROP TABLE circlet; --", '"] or id in ["x', "{ids}", "%s %b", "café/猫 🐈.jpg",
         "a\nb\x1b[2J", "\u202egpj.exe", "\\", "cafe\u0301", "x" * 4096, "é" * 2048, " ", "A", "a", "ß",
         "SS"]  # fmt: skip


def test_names_of_any_characters(store):
    named = [Item(name, name, "") for name in NAMES]
    store.put(named, units(len(NAMES)))
    assert store.items() == named
    for name, row in zip(NAMES, units(len(NAMES)), strict=True):
        assert store.search(row[None], 1).items == [[Item(name, name, "")]]
        np.testing.assert_array_equal(store.vectors([name]), row[None])
    assert store.remove(NAMES) == len(NAMES)


def test_settings(store):
    assert store.meta() == {}
    for meta in ({"a": [1, 2.5, None, True, "é\0\n'\""]}, {"big": ["x" * 1000] * 200}, {}, {"b": {"c": []}}):
        store.set_meta(meta)
        assert store.meta() == meta


CANNOT_BE = [
    (lambda s: s.put([CAT, CAT], units(2)), r"items: found the name 'a\.jpg' twice"),
    (lambda s: s.put([Item("a\0b")], units(1)), "zero character"),
    (lambda s: s.put([Item("a\udc80")], units(1)), "expected text that UTF-8 can hold"),
    (lambda s: s.put([Item("")], units(1)), "found nothing, expected a name"),
    (lambda s: s.put([CAT], units(2)), r"vectors: found shape \(2, 16\), expected \(1, 16\)"),
    (lambda s: s.put([CAT], units(1, dim=4)), r"vectors: found shape \(1, 4\), expected \(1, 16\)"),
    (lambda s: s.put([CAT], 3 * units(1)), "vectors: found a row of length 3 at index 0"),
    (lambda s: s.put([CAT], units(1) * np.nan), "vectors: found a row of length nan"),
    (lambda s: s.search(units(1), 0), "k: found 0"),
    (lambda s: s.search(units(1)[0], 1), r"queries: found shape \(16,\)"),
    (lambda s: s.search(2 * units(1), 1), "queries: found a row of length 2"),
    (lambda s: s.vectors(["a.jpg", "z.jpg"]), r"names: found 'z\.jpg', which is not in"),
    (lambda s: s.remove("a.jpg"), "names: found 'a.jpg', expected a list"),
    (lambda s: s.set_meta({"x": object()}), "meta: "),
]


def test_what_cannot_be(store):
    store.put([CAT], units(1))
    for act, says in CANNOT_BE:
        with pytest.raises(ValueError, match=says) as error:
            act(store)
        assert one_line(error)
        assert (store.items(), store.meta()) == ([CAT], {})


def test_read_only(store, opened):
    store.put([CAT, DOG], units(2))
    store.close()
    reader = opened(read_only=True)
    assert reader.search(units(1), 1).items == [[CAT]]
    for act in (lambda: reader.put([CAT], units(1)), lambda: reader.remove(["a.jpg"]), lambda: reader.set_meta({})):
        with pytest.raises(ValueError, match="opened to be read only"):
            act()
    assert reader.items() == [CAT, DOG]


def test_closed(store):
    store.close()
    store.close()
    for act in (store.items, lambda: store.search(units(1), 1), lambda: store.put([CAT], units(1))):
        with pytest.raises(ValueError, match="found this store closed, expected it open") as error:
            act()
        assert one_line(error)


def test_any_sequence_of_calls(store):
    """Against a dict, which keeps the order of addition, too."""
    rows = units(12)
    rows[5] = rows[4] = rows[3]
    put = st.tuples(st.just("put"), st.dictionaries(st.integers(0, 11), st.integers(0, 11), max_size=5))
    remove = st.tuples(st.just("remove"), st.sets(st.integers(0, 11), max_size=4))

    @settings(max_examples=8, database=None, derandomize=True)
    @given(st.lists(put | remove, min_size=1, max_size=6))
    def check(calls):
        store.remove([str(i) for i in range(12)])
        model = {}
        for kind, what in calls:
            names = [str(i) for i in what]
            if kind == "put":
                store.put([Item(name, f"{of}") for name, of in zip(names, what.values(), strict=True)],
                          rows[np.array([*what.values()], int)])  # fmt: skip
                model.update(zip(names, what.values(), strict=True))
            else:
                assert store.remove(names) == len(names & model.keys())
                model = {name: of for name, of in model.items() if name not in names}
        assert store.items() == [Item(name, f"{of}") for name, of in model.items()]
        similarity = rows[[3]].astype(np.float64) @ rows[np.array([*model.values()], int)].astype(np.float64).T
        best = np.argsort(-similarity[0], kind="stable")[:4]
        assert [hit.name for hit in store.search(rows[[3]], 4).items[0]] == [list(model)[i] for i in best]

    check()
