"""PostgreSQL beyond what every store does: a server that goes away, rights, an index, what is not ours."""

import os
import socket
import sys
import threading

import numpy as np
import psycopg
import pytest

from circlet.vectors import Item, open_store, postgres_connection
from circlet.vectors.postgres_connection import Connection
from tests.vectors.test_stores import items, one_line, units

DIM = 16
pytestmark = pytest.mark.subprocess


@pytest.fixture
def location(postgres_server):
    return postgres_server.table()


@pytest.fixture
def store(location):
    with open_store(location, DIM, create=True) as store:
        yield store


def table_of(location):
    return location.partition("#")[2]


def test_a_server_that_goes_and_comes_back(store, location, postgres_server):
    store.put(items(5), units(5))
    postgres_server.stop()
    try:
        for act in (lambda: store.put(items(9), units(9)), lambda: len(store), lambda: open_store(location)):
            with pytest.raises(ConnectionError, match="give the same command again") as error:
                act()
            assert one_line(error)
            assert str(error.value).startswith(location)
    finally:
        postgres_server.start()
    store.put(items(9), units(9))
    assert store.items() == items(9)


def test_a_connection_that_died_while_nothing_was_asked(store, postgres_server, monkeypatch):
    monkeypatch.setattr(postgres_connection, "_FRESH_S", 0.0)
    store.put(items(2), units(2))
    postgres_server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'circlet'")
    store.put(items(3), units(3))
    assert store.items() == items(3)


def test_a_put_that_fails_half_way_leaves_nothing(store, location, postgres_server):
    store.put(items(3), units(3))
    postgres_server.execute(f"ALTER TABLE {table_of(location)} ADD CONSTRAINT no_seven CHECK (name <> '7.jpg')")
    with pytest.raises(OSError, match=r"refused by the server .*no_seven") as error:
        store.put(items(10), units(10, 1))
    assert one_line(error)
    assert store.items() == items(3)
    np.testing.assert_array_equal(store.vectors(["1.jpg"]), units(3)[[1]])
    postgres_server.execute(f"ALTER TABLE {table_of(location)} DROP CONSTRAINT no_seven")
    store.put(items(10), units(10, 1))
    assert store.items() == items(10)


@pytest.fixture
def silent():
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_server_that_says_nothing(silent):
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{silent}.*timeout") as error:
        open_store(f"postgresql://me:geheim@127.0.0.1:{silent}/db?connect_timeout=2")
    assert one_line(error)
    assert "geheim" not in str(error.value)


def test_a_server_that_stops_answering(store, location, postgres_server, monkeypatch):
    store.put(items(3), units(3))
    monkeypatch.setattr(Connection.transaction.__wrapped__, "__kwdefaults__", {"answer_s": 0.3})
    with psycopg.connect(postgres_server.uri()) as other:
        other.execute(f"LOCK TABLE {table_of(location)}")
        with pytest.raises(ConnectionError, match=r"no answer within 0\.3 s") as error:
            store.search(units(1), 1)
        assert one_line(error)
    monkeypatch.undo()
    assert store.search(units(1), 1).items == [[items(1)[0]]]


def test_writers_take_turns(store, location):
    stores = [open_store(location) for _ in range(3)]

    def work(number):
        for part in range(5):
            own = [Item(f"{number}-{part}-{i}") for i in range(10)]
            stores[number].put([*own, Item("shared", str(number))], units(11))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [item.name for item in store.items()]
    assert len(names) == len(set(names)) == 151
    for number in range(3):
        assert [name for name in names if name.startswith(f"{number}-")] == [
            f"{number}-{part}-{i}" for part in range(5) for i in range(10)
        ]
    for each in stores:
        each.close()


def test_one_store_for_many_threads(store):
    store.put(items(40), units(40))
    wrong = []

    def work(number):
        for _ in range(5):
            if store.search(units(40)[[number]], 1).items != [[items(40)[number]]]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_make_it_at_once(location):
    stores, errors = [], []

    def make():
        try:
            stores.append(open_store(location, DIM, create=True))
        except (OSError, ValueError) as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(stores), errors) == (4, [])
    for each in stores:
        each.close()


def test_an_index(store, location):
    rows = units(400)
    store.put(items(400), rows)
    assert store.search_quality()[:4] == ("exact", 400, 0, 1.0)
    quality = store.build_index()
    assert (quality.method, quality.covered, quality.queries) == ("approximate", 400, 200)
    assert quality.recall > 0.9
    with open_store(location) as other:
        assert other.search_quality().method == "approximate"
        assert [found[0] for found in other.search(rows[:20], 5).items] == items(20)
    exact = store.search(rows[:20], 600, exact=True)
    np.testing.assert_allclose(exact.similarity[:, :400], -np.sort(-(rows[:20] @ rows.T)), atol=2e-6)
    store.put([Item("new")], units(1, 5))
    assert store.search(units(1, 5), 1).items == [[Item("new")]]
    assert store.remove([item.name for item in items(395)]) == 395  # the index still leads to them
    assert len(store.search(rows[:1], 6).items[0]) == 6
    store.drop_index()
    assert store.search_quality().method == "exact"


def test_what_cannot_be_indexed(store, postgres_server):
    with pytest.raises(ValueError, match="m, ef_construction: found 1, 128"):
        store.build_index(m=1)
    with open_store(postgres_server.table(), 2001, create=True) as wide:
        with pytest.raises(ValueError, match="dim: found 2001, expected at most 2000"):
            wide.build_index()
        wide.put([Item("a")], units(1, dim=2001))
        np.testing.assert_array_equal(wide.vectors(["a"]), units(1, dim=2001))
    with pytest.raises(ValueError, match="dim: found 16001, expected 1 to 16000"):
        open_store(postgres_server.table(), 16_001, create=True)


def test_vectors_lie_in_their_rows(postgres_server):
    location = postgres_server.table()
    with open_store(location, 1280, create=True) as store:
        store.put(items(20), units(20, dim=1280))
    (size,) = postgres_server.execute(f"SELECT pg_relation_size(reltoastrelid) FROM pg_class "
                                      f"WHERE relname = '{table_of(location)}'")[0]  # fmt: skip
    assert size == 0


@pytest.fixture
def role(postgres_server):
    """A user who has a password and no rights; what there is of it before is removed."""
    postgres_server.execute("DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD 'ge/heim'")
    yield "guarded"
    postgres_server.execute("DROP OWNED BY guarded; DROP ROLE guarded")


def as_role(location, password):
    return location.replace("postgres@", f"guarded:{password}@")


def test_passwords_are_not_shown(store, location, role, postgres_server, monkeypatch):
    postgres_server.execute(f"GRANT SELECT ON {table_of(location)}, {table_of(location)}_circlet TO guarded")
    store.put(items(2), units(2))
    with open_store(as_role(location, "ge%2Fheim")) as guarded:
        assert "heim" not in guarded.location
        assert "heim" not in repr(guarded)
        assert guarded.search(units(1), 1).items == [[items(1)[0]]]
        for act in (lambda: guarded.put(items(1), units(1, 1)), lambda: guarded.set_meta({}), guarded.build_index):
            with pytest.raises(OSError, match=r"refused by the server \((permission denied|must be owner)") as error:
                act()
            assert one_line(error)
            assert "heim" not in str(error.value)
    for wrong in (as_role(location, "geheim2"), location.replace("postgres@", "guarded@"),
                  location.replace("postgres@", "").replace("?", "?user=guarded&password=geheim2&")):  # fmt: skip
        with pytest.raises(ConnectionError, match=r"password|fe_sendauth") as error:
            open_store(wrong)
        assert one_line(error)
        assert "geheim2" not in str(error.value)
    monkeypatch.setenv("PGPASSWORD", "ge/heim")
    open_store(location.replace("postgres@", "guarded@")).close()


def test_a_database_without_pgvector(location, role, postgres_server):
    postgres_server.execute("DROP DATABASE IF EXISTS bare")
    postgres_server.execute("CREATE DATABASE bare")
    try:
        with pytest.raises(ValueError, match="an administrator to run CREATE EXTENSION vector") as error:
            open_store(as_role(location, "ge%2Fheim").replace("/postgres?", "/bare?"), DIM, create=True)
        assert one_line(error)
        with pytest.raises(FileNotFoundError, match="no such table"):
            open_store(location.replace("/postgres?", "/bare?"))
        with open_store(location.replace("/postgres?", "/bare?"), DIM, create=True) as store:
            store.put(items(1), units(1))
    finally:
        postgres_server.execute("DROP DATABASE bare")


def test_a_schema(postgres_server):
    postgres_server.execute("CREATE SCHEMA IF NOT EXISTS photos")
    location = postgres_server.table().replace("#", "#photos.")
    with open_store(location, DIM, create=True) as store:
        store.put(items(3), units(3))
        store.build_index()
        assert store.search(units(1), 1).items == [[items(1)[0]]]
    assert postgres_server.execute(f"SELECT count(*) FROM {table_of(location)}") == [(3,)]


@pytest.mark.parametrize("made", ["CREATE TABLE {0} (id int)", "CREATE TABLE {0}_circlet (id int)",
                                  "CREATE TABLE {0} (key bytea, vector vector(16))",
                                  "CREATE TABLE {0} (a int); CREATE TABLE {0}_circlet (format text)"])  # fmt: skip
def test_a_table_of_somebody_else(location, postgres_server, made):
    postgres_server.execute("CREATE EXTENSION IF NOT EXISTS vector")
    postgres_server.execute(made.format(table_of(location)))
    for create in (False, True):
        with pytest.raises(ValueError, match="table that circlet has not made") as error:
            open_store(location, DIM, create=create)
        assert one_line(error)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE {0}_circlet SET format = 7", "found version 7, expected 1: made by another version"),
        ("UPDATE {0}_circlet SET meta = '[1]'", "settings that are no JSON object"),
        ("UPDATE {0}_circlet SET meta = repeat('[', 100000)", "settings that are no JSON object"),
        ("DELETE FROM {0}_circlet", "has not made"),
        ("ALTER TABLE {0} DROP COLUMN label", "has not made"),
        ("ALTER TABLE {0} ADD COLUMN label2 text", "has not made"),
        ("DROP TABLE {0}_circlet", "has not made"),
        ("DROP TABLE {0}", "has not made"),
    ],
)
def test_a_table_that_was_changed(store, location, postgres_server, change, says):
    store.put(items(2), units(2))
    store.close()
    postgres_server.execute(change.format(table_of(location)))
    with pytest.raises(ValueError, match=says) as error, open_store(location) as again:
        again.meta()
    assert str(error.value).startswith(location)
    assert one_line(error)


def test_an_address_that_is_wrong(location):
    with pytest.raises(ValueError, match='invalid URI query parameter: "foo"') as error:
        open_store(location.replace("?", "?foo=1&"))
    assert one_line(error)
    with pytest.raises(ConnectionError, match='database "none" does not exist') as error:
        open_store(location.replace("/postgres?", "/none?"))
    assert one_line(error)


def test_without_the_library(monkeypatch, location):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"pip install 'circlet\[postgres\]'"):
        open_store(location)


def test_nothing_is_left_open(location, postgres_server):
    before = set(os.listdir("/proc/self/fd"))
    with open_store(location, DIM, create=True) as store:
        store.put(items(1), units(1))
    with pytest.raises(ValueError, match="expected 12"):
        open_store(location, 12)
    assert set(os.listdir("/proc/self/fd")) == before
