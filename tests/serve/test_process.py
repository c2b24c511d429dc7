"""The service as a process: killed and started again, stopped in order, and beside another one."""

import asyncio
import random
import signal
import socket
import threading
from contextlib import suppress

import httpx
import pytest

from circlet.index import Index
from circlet.locks import FolderInUse
from circlet.serve.server import address_of, listen, make_server
from tests.serve.made_up import index, model, picture
from tests.serve.process import served, wait_for_end

pytestmark = pytest.mark.subprocess


@pytest.fixture
def letters(tmp_path):
    index(tmp_path).close()
    return tmp_path / "letters.index"


def enrolled(letters):
    with Index.open(letters, model(), read_only=True) as found:
        return [(item.name, item.label) for item in found.items() if item.name.startswith("added:")]


def test_killed_at_any_moment_it_has_lost_nothing_that_it_had_answered(letters):
    """Two rounds here; benchmarks/serve.py --kills does a hundred."""
    rng, answered, sent = random.Random(0), {}, 0
    for _ in range(2):
        with served(letters) as (process, client):
            threading.Timer(rng.uniform(0.1, 0.5), process.kill).start()
            with suppress(httpx.TransportError):
                while True:
                    done = client.post(f"/api/items?label=c{sent % 5}", content=picture(1000 + sent))
                    assert done.status_code == 201
                    answered[done.json()["id"]] = f"c{sent % 5}"
                    last = sent
                    sent += 1
            sent += 1
    found = enrolled(letters)
    assert len(set(found)) == len(found) <= sent
    assert {name.rpartition("/")[2]: label for name, label in found}.items() >= answered.items()
    kept = {path.stem for path in letters.with_name("letters.index.enrolled").rglob("*.jpg")}
    assert kept >= answered.keys()
    with served(letters) as (_, client):
        again = client.post(f"/api/items?label=c{last % 5}", content=picture(1000 + last))
        assert (again.status_code, again.json()["created"]) == (200, False)
        assert client.get("/api/items").json()["total"] == len(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(letters, number):
    with served(letters) as (process, client):
        assert client.post("/api/items?label=x", content=picture(5)).status_code == 201
        process.send_signal(number)
        status, out, err = wait_for_end(process)
    assert (status, out.splitlines()[-1]) == (0, "stopped")
    assert "Traceback" not in err
    assert " POST /api/items 201 " in err
    assert len(enrolled(letters)) == 1
    assert not (letters / ".lock").exists()


def test_it_alone_writes_and_others_may_read(letters):
    with served(letters) as (process, client):
        with pytest.raises(FolderInUse, match=f"process {process.pid} "):
            Index.open(letters, model())
        client.post("/api/items?label=x", content=picture(5))
        assert len(enrolled(letters)) == 1


def test_many_at_once_are_answered_as_one_by_one(letters):
    with served(letters) as (_, client):
        pictures = [picture(2000 + number) for number in range(24)]
        alone = [client.post("/api/search?k=3", content=each).json() for each in pictures[:4]]
        found = [None] * len(pictures)

        def ask(number):
            answer = client.post("/api/search?k=3", content=pictures[number])
            added = client.post(f"/api/items?label=c{number}", content=pictures[number])
            found[number] = (answer.status_code, answer.json(), added.status_code)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(pictures))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(each[0], each[2]) for each in found] == [(200, 201)] * len(pictures)
        assert len(alone) == 4
    assert len(enrolled(letters)) == len(pictures)


def test_who_goes_in_the_middle_of_a_request_leaves_nothing_behind(letters):
    with served(letters) as (_, client):
        place = client.base_url.host, client.base_url.port
        for begun in (
            b"",
            b"POST /api/sea",
            b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nx",
        ):
            with socket.create_connection(place) as gone:
                gone.sendall(begun)
        with socket.create_connection(place) as odd:
            odd.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))
            assert odd.recv(100).startswith(b"HTTP/1.1 400 ")
        assert client.post("/api/search", content=picture(5)).status_code == 200


def test_a_port_in_use_is_one_line():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert address_of(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match=f"{port} in use by another process"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "203.0.113.1"])
def test_no_address_of_this_machine(host):
    with pytest.raises(OSError, match=r"^host: "):
        listen(host, 0)


def test_a_head_that_does_not_come_is_waited_for_so_long(monkeypatch):
    async def app(scope, receive, send):
        while scope["type"] == "lifespan":
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr("circlet.serve.server.HEADER_S", 0.3)
    ready, listening = threading.Event(), listen("127.0.0.1", 0)
    server = make_server(app, ready=ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    try:
        assert ready.wait(20)
        place = listening.getsockname()[:2]
        whole = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        for sent in (b"", whole[:20], whole + whole[:20]):
            with socket.create_connection(place, timeout=20) as slow:
                slow.sendall(sent)
                got = b""
                while piece := slow.recv(1000):
                    got += piece
            assert got.count(b"HTTP/1.1 204") == sent.count(whole)
    finally:
        server.should_exit = True
        thread.join(30)
