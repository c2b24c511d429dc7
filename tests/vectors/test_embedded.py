"""The embedded store against a dict, and against what it must refuse."""

import gc
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from circlet.locks import FolderInUse
from circlet.vectors import Item, Store, embedded, open_store
from tests.vectors.cases import AXES, assert_finds, items_of, unit

NAMES = st.sampled_from([f"{letter}/{i}.jpg" for letter in "aé" for i in range(6)])
ROWS = np.concatenate([AXES, -AXES, unit(0, 4)])  # few, so that similarities are equal often


class Against(RuleBasedStateMachine):
    """put, replace, remove, compact, set_meta and open again, beside a dict; a dict keeps the place of what it has."""

    @initialize()
    def begin(self):
        import tempfile

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(embedded, "JOURNAL_BYTES", 600)  # some six rows
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = f"{self.temporary.name}/index"
        self.store = open_store(self.folder, 4, create=True)
        self.known, self.meta = {}, {}

    @rule(
        names=st.lists(NAMES, min_size=0, max_size=8, unique=True), row=st.integers(0, 11), label=st.sampled_from("xy")
    )
    def put(self, names, row, label):
        items = [Item(name, label) for name in names]
        rows = ROWS[(row + np.arange(len(names))) % len(ROWS)]
        self.store.put(items, rows)
        self.known.update({item.name: (item, each) for item, each in zip(items, rows, strict=True)})

    @rule(names=st.lists(NAMES, max_size=4))
    def remove(self, names):
        there = {name for name in names if name in self.known}
        assert self.store.remove(names) == len(there)
        for name in there:
            del self.known[name]

    @rule()
    def compact(self):
        self.store.compact(show_progress=False)
        assert len(list(Path(self.folder).glob("segment-*"))) <= 1

    @rule(value=st.integers(0, 3))
    def settings_too(self, value):
        self.meta = {"value": value}
        self.store.set_meta(self.meta)

    @rule()
    def again(self):
        self.store.close()
        self.store = open_store(self.folder)

    @invariant()
    def same(self):
        contents = list(self.known.values())
        assert len(self.store) == len(contents)
        assert self.store.items() == [item for item, _ in contents]
        assert self.store.meta() == self.meta
        names = list(reversed(self.known))
        rows = self.store.vectors(names)
        assert rows.shape == (len(names), 4)
        assert all(np.array_equal(row, self.known[name][1]) for name, row in zip(names, rows, strict=True))
        for queries in (ROWS[:1], ROWS[3:6]):
            assert_finds(self.store, contents, queries, 3)
        with open_store(self.folder, read_only=True) as reader:  # beside the writer
            assert reader.items() == [item for item, _ in contents]

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.patch.undo()
            self.temporary.cleanup()


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "index", 4, create=True) as opened:
        yield opened


def test_it_is_a_store(store):
    assert isinstance(store, Store)
    assert (store.dim, len(store), store.items(), store.meta()) == (4, 0, [], {})
    hits = store.search(AXES[:2], 3)
    assert np.isneginf(hits.similarity).all()
    assert hits.items == [[], []]
    assert store.vectors([]).shape == (0, 4)
    assert store.search(AXES[:0], 3).similarity.shape == (0, 3)


def test_repeating_a_call_writes_nothing(store):
    items, rows = items_of("a", "b", "c"), unit(1, 3)
    store.put(items, rows)
    before = {path: path.stat().st_size for path in store.folder.iterdir()}
    store.put(items, rows)
    store.put(items[::-1], rows[::-1])
    assert store.remove(["z"]) == 0
    assert {path: path.stat().st_size for path in store.folder.iterdir()} == before
    assert store.items() == items


def test_one_image_does_not_rewrite_the_others(store, monkeypatch):
    monkeypatch.setattr(embedded, "JOURNAL_BYTES", 2000)
    store.put(items_of(*map(str, range(200))), unit(0, 200))
    (large,) = store.folder.glob("segment-*")
    for i in range(30):
        store.put(items_of(f"new {i}"), unit(i, 1))
        assert large.exists()
    assert len(store) == 230


def test_small_segments_are_merged(store, monkeypatch):
    monkeypatch.setattr(embedded, "JOURNAL_BYTES", 200)
    for i in range(40):
        store.put(items_of(str(i)), unit(i, 1))
    assert len(list(store.folder.glob("segment-*"))) <= 6
    assert [item.name for item in store.items()] == [str(i) for i in range(40)]


def test_equal_rows_come_in_order_of_addition(store):
    names = [str(i) for i in range(300)]
    store.put(items_of(*names), np.repeat(AXES[:1], 300, axis=0))
    store.put([Item("5", "changed")], AXES[:1])  # keeps its place
    for queries in (AXES[:1], AXES[:3]):
        hits = store.search(queries, 10)
        assert [item.name for item in hits.items[0]] == names[:10]
        assert hits.items[0][5].label == "changed"


@pytest.mark.parametrize("queries", [1, 5])
def test_many_rows_against_the_definition(tmp_path, queries, monkeypatch):
    monkeypatch.setattr("circlet.vectors.exact._LEAST_ROWS", 256)
    monkeypatch.setattr("circlet.vectors.exact._TILE", 1024)
    rows, items = unit(3, 1500, 8), items_of(*map(str, range(1500)))
    with open_store(tmp_path / "index", 8, create=True) as store:
        store.put(items, rows)
        store.remove([str(i) for i in range(0, 1500, 3)])
        contents = [(item, row) for i, (item, row) in enumerate(zip(items, rows, strict=True)) if i % 3]
        for k in (1, 10, 40, 2000):
            assert_finds(store, contents, unit(4, queries, 8), k)


def test_a_second_writer_is_refused(store):
    with pytest.raises(FolderInUse, match="writing into it"):
        open_store(store.location)
    with pytest.raises(FolderInUse):
        open_store(store.location, 4, create=True)
    store.close()
    store.close()
    open_store(store.location).close()


@pytest.mark.parametrize("in_a_circle", [False, True])
def test_one_that_nobody_closes_lets_go_when_nobody_has_it(tmp_path, in_a_circle):
    for round in range(3):
        forgotten = open_store(tmp_path / "index", 4, create=True)  # a file left open would be a warning, an error here
        forgotten.put(items_of(str(round)), AXES[:1])
        if in_a_circle:
            forgotten.itself = forgotten
        with pytest.raises(FolderInUse, match="that is this one, so close what has it open"):
            open_store(tmp_path / "index")
        del forgotten
        gc.collect()
    with open_store(tmp_path / "index") as again:
        assert len(again) == 3


def test_it_may_be_closed_by_another_thread(store):
    thread = threading.Thread(target=store.close)
    thread.start()
    thread.join()
    open_store(store.location).close()
    with pytest.raises(ValueError, match="closed"):
        store.search(AXES, 1)


def test_a_reader_keeps_what_it_saw(store, monkeypatch):
    monkeypatch.setattr(embedded, "JOURNAL_BYTES", 300)
    store.put(items_of("a", "b"), AXES[:2])
    with open_store(store.location, read_only=True) as reader:
        for i in range(20):
            store.put(items_of("a", f"new {i}"), unit(i, 2))
        store.compact(show_progress=False)
        assert reader.items() == items_of("a", "b")
        assert reader.search(AXES[:1], 1).similarity[0, 0] == 1
        for change in (
            lambda: reader.put(items_of("c"), AXES[:1]),
            lambda: reader.remove(["a"]),
            lambda: reader.set_meta({}),
        ):
            with pytest.raises(ValueError, match="read only"):
                change()


def test_threads_may_search_while_another_writes(store, monkeypatch):
    monkeypatch.setattr(embedded, "JOURNAL_BYTES", 500)
    store.put(items_of("fixed", "moving"), AXES[:2])
    errors, ended = [], threading.Event()

    def look():
        while not ended.is_set():
            found = [item.name for item in store.search(AXES[:2], 200).items[0]]
            if found.count("fixed") != 1 or found.count("moving") != 1:
                errors.append(found)

    thread = threading.Thread(target=look)
    thread.start()
    for i in range(25):
        store.put(items_of("moving", str(i)), unit(i, 2))
    ended.set()
    thread.join()
    assert not errors


def test_a_folder_that_may_only_be_read(store):
    store.put(items_of("a"), AXES[:1])
    store.close()
    store.folder.chmod(0o500)
    try:
        before = sorted(store.folder.iterdir())
        with open_store(store.location, read_only=True) as reader:
            assert len(reader) == 1
        assert sorted(store.folder.iterdir()) == before
        if os.geteuid():
            with pytest.raises(OSError, match="could not be locked"):
                open_store(store.location)
    finally:
        store.folder.chmod(0o700)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.put(items_of("a"), AXES[:2]), r"vectors: found shape \(2, 4\), expected \(1, 4\)"),
        (
            lambda s: s.put(items_of("a"), AXES[:1] * 2),
            "found a row of length 2 at index 0, expected unit rows",
        ),
        (lambda s: s.put(items_of("a"), AXES[:1] * np.nan), "length nan"),
        (lambda s: s.put(items_of("a", "a"), AXES[:2]), "items: found the name 'a' twice"),
        (lambda s: s.put(items_of(""), AXES[:1]), r"items\[0\].name: found nothing"),
        (lambda s: s.put(items_of("a\0b"), AXES[:1]), "zero character"),
        (lambda s: s.put(items_of("\udcff"), AXES[:1]), "expected text that UTF-8 can hold"),
        (lambda s: s.put(items_of("a" * 5000), AXES[:1]), "at most 4096 bytes"),
        (lambda s: s.put([("a", 3, "")], AXES[:1]), r"items\[0\].label: found 3, expected text"),
        (lambda s: s.put(["a"], AXES[:1]), "expected an Item"),
        (lambda s: s.remove("abc"), "names: found 'abc', expected a list of names"),
        (lambda s: s.search(AXES[0], 1), r"queries: found shape \(4,\)"),
        (lambda s: s.search(AXES, 0), "k: found 0, expected a whole number of at least 1"),
        (lambda s: s.vectors(["a", "z"]), "names: found 'z', which is not in"),
        (lambda s: s.set_meta({"a": object()}), "meta: found what JSON cannot hold"),
        (lambda s: s.set_meta({"a": "\udc80"}), "UTF-8 cannot hold"),
    ],
)
def test_arguments_that_cannot_be(store, change, message):
    store.put(items_of("a"), AXES[:1])
    with pytest.raises(ValueError, match=message):
        change(store)
    assert store.items() == items_of("a")


def test_settings_that_are_not_finite_become_null(store):
    store.set_meta({"a": float("nan"), "b": [1, {"c": "é"}]})
    store.meta()["b"].append(2)  # of a copy
    store.close()
    with open_store(store.location) as again:
        assert again.meta() == {"a": None, "b": [1, {"c": "é"}]}


def test_places_that_are_no_index(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder, expected an index"):
        open_store(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"found no circlet-vectors.json"):
        open_store(tmp_path)
    (tmp_path / "file").write_text("x")
    for location, create in ((tmp_path / "file", False), (tmp_path / "file", True), (tmp_path, True)):
        with pytest.raises((ValueError, FileNotFoundError)):
            open_store(location, 4, create=create)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    open_store(tmp_path / "new", 4, create=True).close()
    with pytest.raises(ValueError, match="found vectors of 4 numbers, expected 5"):
        open_store(tmp_path / "new", 5)
    open_store(tmp_path / "new").close()  # nothing was left locked
    for wrong in ({"dim": None, "create": True}, {"dim": 0}, {"dim": 4, "create": True, "read_only": True}):
        with pytest.raises(ValueError, match=r"dim|read_only"):
            open_store(tmp_path / "new", **wrong)
    with pytest.raises(ValueError, match="location"):
        open_store("")


def test_a_name_may_be_anything(store):
    names = ["../../x", "/etc/passwd", "a/b", "<script>", "\x1b[2J", "\n", " "]
    store.put(items_of(*names), unit(0, len(names)))
    store.compact(show_progress=False)
    assert [item.name for item in store.items()] == names
    assert sorted(path.name for path in store.folder.parent.iterdir()) == ["index"]


def test_merging(store, tmp_path, monkeypatch):
    monkeypatch.setattr("circlet.vectors.merging._BATCH", 1)
    store.put(items_of("a", "b"), AXES[:2])
    with open_store(tmp_path / "other", 4, create=True) as other:
        other.put([Item("b", "other"), Item("c")], AXES[2:])
        for _ in range(2):
            assert store.merge(other) == 2
    assert store.items() == [*items_of("a"), Item("b", "other"), Item("c")]
    assert np.array_equal(store.vectors(["a", "b", "c"]), AXES[[0, 2, 3]])
    with (
        open_store(tmp_path / "third", 5, create=True) as third,
        pytest.raises(ValueError, match="vectors of 5 numbers"),
    ):
        store.merge(third)


def test_names_with_one_hash(store, monkeypatch):
    """Names are compared, not only their hashes."""
    same = lambda names: np.zeros(len(names), np.uint64)  # noqa: E731
    monkeypatch.setattr("circlet.vectors.state.hashes", same)
    monkeypatch.setattr("circlet.vectors.tail.hashes", same)
    store.put(items_of("a", "b", "c"), AXES[:3])
    store.compact(show_progress=False)
    store.put(items_of("b"), AXES[3:])
    assert np.array_equal(store.vectors(["a", "b", "c"]), AXES[[0, 3, 2]])
    with pytest.raises(ValueError, match="'d'"):
        store.vectors(["d"])


def test_what_is_written_can_be_read_by_people(store):
    store.set_meta({"root": "photos"})
    found = json.loads((store.folder / "circlet-vectors.json").read_text())
    assert (found["format"], found["version"], found["meta"]) == ("circlet vectors", 1, {"root": "photos"})
