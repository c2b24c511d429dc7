"""Milvus beyond what every store does: files, servers that go away, an index, what is not ours."""

import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from circlet.locks import FolderInUse
from circlet.vectors import Item, milvus_connection, open_store
from circlet.vectors import milvus as module
from circlet.vectors.milvus_connection import load_pymilvus
from circlet.vectors.milvus_file import MilvusFile
from tests.vectors.test_stores import items, one_line, units

DIM = 16


@pytest.fixture
def location(tmp_path):
    return f"milvus:{tmp_path / 'photos.db'}"


@pytest.fixture
def store(location):
    store = open_store(location, DIM, create=True)
    yield store
    store.close()


class Server:
    """A Milvus server on a port, over a folder, that can be stopped and started again."""

    def __init__(self, folder):
        self.folder, self.port = folder, 0
        self.start()

    def start(self):
        load_pymilvus()
        from milvus_lite.adapter.grpc.server import start_server_in_thread

        self.server, self.database, self.port = start_server_in_thread(str(self.folder), port=self.port)

    def stop(self):
        self.server.stop(0).wait(10)
        self.database.close()

    @property
    def location(self):
        return f"http://root:geheim@127.0.0.1:{self.port}/photos"


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server.db")
    yield server
    server.stop()


def test_the_same_code_for_a_server(server):
    store = open_store(server.location, DIM, create=True)
    store.put(items(5), units(5))
    assert store.search(units(5)[[3]], 1).items == [[items(5)[3]]]
    assert "geheim" not in store.location
    store.close()
    with pytest.raises(FileNotFoundError, match="no such collection"):
        open_store(server.location.replace("photos", "others"))


def test_a_server_that_goes_and_comes_back(server, monkeypatch):
    monkeypatch.setattr(milvus_connection, "CONNECT_S", 2.0)
    monkeypatch.setattr(milvus_connection, "ANSWER_S", 5.0)
    store = open_store(server.location, DIM, create=True)
    store.put(items(5), units(5))
    server.stop()
    for act in (lambda: store.put(items(9), units(9)), lambda: open_store(server.location)):
        with pytest.raises(ConnectionError, match="give the same command again") as error:
            act()
        assert one_line(error)
        assert "geheim" not in str(error.value)
        assert f"http://127.0.0.1:{server.port}/photos" in str(error.value)
    server.start()
    store.put(items(9), units(9))
    assert store.items() == items(9)
    store.close()


def test_a_put_that_failed_half_way_and_is_repeated(store, monkeypatch):
    monkeypatch.setattr(module, "_REQUEST_BYTES", 10 * (4 * DIM + 512))
    store.put([Item("first"), items(30)[25]], units(2))
    call, calls = store._connection.call, []

    def fails(method, *arguments, **settings):
        calls.append(method)
        if calls.count("upsert") == 3:
            raise ConnectionError("gone")
        return call(method, *arguments, **settings)

    store._connection.call = fails
    with pytest.raises(ConnectionError):
        store.put(items(30), units(30))
    store._connection.call = call
    store.put(items(30), units(30))
    expected = ["first", "25.jpg", *(f"{i}.jpg" for i in range(30) if i != 25)]
    assert [item.name for item in store.items()] == expected
    assert len(store) == 31


def test_order_over_openings(location):
    for number in range(3):
        store = open_store(location, DIM, create=True)
        store.put([Item(f"{number}-b"), Item(f"{number}-a")], units(2))
        store.close()
    store = open_store(location)
    assert [item.name for item in store.items()] == ["0-b", "0-a", "1-b", "1-a", "2-b", "2-a"]
    store.close()


def test_many_that_are_the_same(store):
    rows = units(500)
    rows[:400] = rows[0]
    store.put(items(500), rows)
    assert [hit.name for hit in store.search(rows[:1], 3).items[0]] == ["0.jpg", "1.jpg", "2.jpg"]


def test_an_index_above_a_size(store, monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 300)
    rows = units(600)
    store.put(items(300), rows[:300])
    assert store.search_quality().recall == 1.0
    store.put(items(300, 300), rows[300:])
    assert store._collections.is_indexed()
    quality = store.search_quality()
    assert quality.recall > 0.9
    hits = store.search(rows[:20], 5)
    assert [found[0] for found in hits.items] == items(20)
    exact = store.search(rows[:20], 5, exact=True)
    np.testing.assert_allclose(exact.similarity, -np.sort(-(rows[:20] @ rows.T))[:, :5], atol=2e-6)
    location = store.location
    store.close()
    again = open_store(location)
    assert again._collections.is_indexed()
    assert again.search(rows[:1], 1).items == [[items(1)[0]]]
    again.close()


def test_nobody_else_reaches_the_file(store):
    path = Path(store._connection._file.uri.removeprefix("unix:"))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()
    assert not path.parent.exists()


def test_two_stores_of_one_process(store, location):
    other = open_store(location, read_only=True)
    store.put(items(2), units(2))
    assert other.items() == items(2)
    other.close()
    assert store.items() == items(2)


def test_one_process_at_a_time(store, location):
    store.close()
    with open(Path(location.removeprefix("milvus:")) / "LOCK") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FolderInUse, match=r"photos\.db: found another process that has it open") as error:
            open_store(location)
    assert one_line(error)
    open_store(location).close()


PUTS = """
import sys
import numpy as np
from circlet.vectors import Item, open_store
store = open_store(sys.argv[1])
rows = np.eye({dim}, dtype=np.float32)
for number in range(10_000):
    store.put([Item(f"{{number}}-{{i}}") for i in range({dim})], rows)
    print(number, flush=True)
"""


@pytest.mark.subprocess
@pytest.mark.slow
def test_killed_at_any_moment(store, location, tmp_path):
    store.close()
    acknowledged = -1
    for wait in (0.05, 0.3, 0.7):
        process = subprocess.Popen([sys.executable, "-P", "-c", PUTS.format(dim=DIM), location], stdout=subprocess.PIPE,
                                   text=True, env={**os.environ, "TMPDIR": str(tmp_path)})  # fmt: skip
        acknowledged = max(acknowledged, int(process.stdout.readline()))
        time.sleep(wait)
        process.kill()
        rest, _ = process.communicate()
        acknowledged = max([acknowledged, *map(int, rest.split())])
        again = open_store(location)
        names = [item.name for item in again.items()]
        again.close()
        assert len(names) == len(set(names))
        assert {f"{n}-{i}" for n in range(acknowledged + 1) for i in range(DIM)} <= set(names)


def test_a_folder_that_is_something_else(tmp_path):
    (tmp_path / "photos.db").mkdir()
    (tmp_path / "photos.db" / "cat.jpg").touch()
    (tmp_path / "old.db").write_bytes(b"SQLite format 3\0")
    for path in ("photos.db", "old.db", "none/a.db"):
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            open_store(f"milvus:{tmp_path / path}", DIM, create=True)
        assert one_line(error)
    assert [path.name for path in (tmp_path / "photos.db").iterdir()] == ["cat.jpg"]


def test_a_collection_of_somebody_else(server):
    client = load_pymilvus().MilvusClient(f"http://127.0.0.1:{server.port}", dedicated=True)
    client.create_collection("photos", dimension=DIM)
    for create in (False, True):
        with pytest.raises(ValueError, match="collection that circlet has not made") as error:
            open_store(server.location, DIM, create=create)
        assert one_line(error)
    client.drop_collection("photos")
    client.create_collection("photos_circlet", dimension=DIM)
    with pytest.raises(ValueError, match="collection that circlet has not made"):
        open_store(server.location, DIM, create=True)
    client.close()


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ('{"format": 2, "dim": 16, "next": 0, "parts": []}', "found version 2, expected 1"),
        ('{"format": 1, "dim": 16, "next": 0, "parts": ["00"]}', "a part missing"),
        ('{"format": 1, "dim": 12, "next": 0, "parts": []}', "has not made"),
        ('{"format": 1, "dim": "16"}', "head.next: found no such key|head.dim"),
        ('{"format": "1"', "head that is no JSON"),
        ("[]", "found"),
    ],
)
def test_a_head_that_cannot_be(store, location, head, says):
    store.put(items(2), units(2))
    store._collections._write({"head": head})
    store.close()
    with pytest.raises(ValueError, match=says) as error, open_store(location) as again:
        again.meta()
    assert str(error.value).startswith(location)
    assert one_line(error)


def test_stopped_while_it_was_made(store, location):
    """The second collection is there and empty, and the first is not."""
    store._connection.call("drop_collection", "circlet")
    store._connection.call("delete", "circlet_circlet", ids=["head"])
    store.close()
    with pytest.raises(FileNotFoundError, match="no such collection"):
        open_store(location)
    again = open_store(location, DIM, create=True)
    again.put(items(2), units(2))
    assert again.items() == items(2)
    again.close()


def test_limits(tmp_path, store):
    with pytest.raises(ValueError, match="k: found 20000, expected at most 16000"):
        store.search(units(1), 20_000)
    with pytest.raises(ValueError, match="dim: found 1, expected 2 to 32768"):
        open_store(f"milvus:{tmp_path}/b.db", 1, create=True)
    assert not (tmp_path / "b.db").exists()


def test_without_the_library(monkeypatch, location):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ImportError, match=r"pip install 'circlet\[milvus\]'"):
        open_store(location, DIM, create=True)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "milvus_lite.adapter.grpc.server", None)
    with pytest.raises(ImportError, match=r"pip install 'circlet\[milvus\]'"):
        open_store(location, DIM, create=True)


@pytest.mark.subprocess
def test_nothing_of_the_folder_that_one_stands_in_is_read(tmp_path):
    (tmp_path / ".env").write_text("MILVUS_URI=http://evil\nPYTHONSTARTUP=x\nMADE_UP=1\n")
    names = {"MILVUS_URI", "PYTHONSTARTUP", "MADE_UP", "PYTHON_DOTENV_DISABLED"}
    code = ("import os; from circlet.vectors.milvus_connection import load_pymilvus; load_pymilvus(); "
            f"print(sorted({names} & set(os.environ)))")  # fmt: skip
    found = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                           env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})  # fmt: skip
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_a_file_is_let_go_of_when_opening_fails(store, location, monkeypatch):
    store.close()
    monkeypatch.setattr(module, "Collections", lambda connection: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_store(location)
    assert MilvusFile.__init__.__globals__["_running"] == {}
