"""Who is let in, from where, how often; and what every answer carries."""

import threading

import pytest

from circlet.serve import Limits
from circlet.serve.guard import HEADERS
from tests.serve.made_up import HOST, picture

TOKEN = "a-token-of-more-than-16"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def sent(number=0):
    return {"files": {"image": ("x.png", picture(number), "image/png")}}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "[::1]:8000", "192.168.1.7:8000", "photos.example"])
def test_addresses_and_given_names_are_answered(served, host):
    client = served(names=["Photos.Example"])
    assert client.get("/api/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "a b", "[::1", "1.2.3"]
)
def test_other_names_are_not(client, host):
    response = client.get("/api/about", headers={"Host": host})
    assert (response.status_code, response.json()["status"]) == (421, 421)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9"}, {"Origin": "http://["},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site", "Origin": HOST}],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_pages_of_others_change_nothing(client, letters, method, headers):
    assert client.request(method, "/api/items", headers=headers).status_code == 403
    assert len(letters) == 9


def test_our_own_page_may(client):
    headers = {"Origin": HOST, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/search", headers=headers, **sent()).status_code == 200


def test_without_the_token_nothing_of_the_index_is_seen(served):
    client = served(token=TOKEN)
    for path in ("/api/about", "/api/items", "/api/classes", "/api/items/" + 32 * "0" + "/thumbnail", "/nothing"):
        response = client.get(path)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code in (401, 429)
    assert client.post("/api/search", **sent()).status_code == 401
    assert client.get("/api/about", headers=BEARER).status_code == 200
    assert client.post("/api/search", headers=BEARER, **sent()).status_code == 200
    for path in ("/", "/app.js", "/parts.js", "/requests.js", "/style.css", "/icon.svg", "/openapi.json"):
        assert client.get(path).status_code == 200
    health = client.get("/api/health").json()
    assert (health["token"], health["signed_in"]) == (True, False)


def test_a_session_takes_the_token_once(served):
    client = served(token=TOKEN)
    assert client.post("/api/session", json={"token": "x" * 20}).status_code == 401
    response = client.post("/api/session", json={"token": TOKEN})
    cookie = response.headers["set-cookie"]
    assert response.status_code == 204
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert TOKEN not in cookie
    assert client.get("/api/about").status_code == 200
    assert client.post("/api/search", **sent()).status_code == 403  # a page of others could send it
    assert client.post("/api/search", headers={"X-Circlet": "1"}, **sent()).status_code == 200
    assert client.delete("/api/session", headers={"X-Circlet": "1"}).status_code == 204
    assert client.get("/api/about").status_code == 401
    assert not any(TOKEN in line for line in client.lines)


def test_over_https_the_cookie_stays_there(served):
    client = served(token=TOKEN, names=["photos.example"])
    headers = {"Host": "photos.example", "Origin": "https://photos.example"}
    assert "; Secure" in client.post("/api/session", json={"token": TOKEN}, headers=headers).headers["set-cookie"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"token": 3}', b'{"token": null}', b"[" * 3000, b"\xff"])
def test_what_is_no_token(served, body):
    assert served(token=TOKEN).post("/api/session", content=body).status_code == 400


def test_a_long_token_is_not_read(served):
    assert served(token=TOKEN).post("/api/session", json={"token": "x" * 9000}).status_code == 413


def test_guesses_are_slowed_down(served):
    client = served(token=TOKEN)
    statuses = [client.post("/api/session", json={"token": f"{i:020}"}).status_code for i in range(12)]
    assert statuses[:10] == [401] * 10
    assert statuses[10:] == [429] * 2
    late = client.post("/api/session", json={"token": TOKEN})
    assert (late.status_code, int(late.headers["retry-after"]) > 0) == (429, True)
    assert client.get("/api/about", headers={"Authorization": "Bearer guess"}).status_code == 429
    assert client.get("/api/about", headers=BEARER).status_code == 200


def test_an_address_may_ask_so_often(served):
    client = served(limits=Limits(rate=0.001, burst=2))  # its address is "testclient"
    assert [client.post("/api/search", **sent()).status_code for _ in range(3)] == [200, 200, 429]
    refused = client.post("/api/search", **sent())
    assert int(refused.headers["retry-after"]) > 1
    assert client.get("/api/classes").status_code == 200


def test_so_many_at_once(served, letters, monkeypatch):
    began, go = threading.Event(), threading.Event()
    search = type(letters.store).search

    def slow(self, rows, k):
        began.set()
        assert go.wait(20)
        return search(self, rows, k)

    client = served(limits=Limits(in_flight=1))
    monkeypatch.setattr(type(letters.store), "search", slow)
    found = []
    other = threading.Thread(target=lambda: found.append(client.post("/api/search", **sent()).status_code))
    other.start()
    assert began.wait(20)
    refused = client.get("/api/about")
    go.set()
    other.join(20)
    assert (refused.status_code, refused.headers["retry-after"], found) == (503, "1", [200])
    assert client.get("/api/about").status_code == 200


def test_every_answer_tells_the_browser_to_trust_nothing_else(client):
    for path in ("/", "/api/about", "/nothing", "/app.js"):
        response = client.get(path)
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert client.get("/api/about", headers={"Host": "evil"}).headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert not any(name.startswith("access-control") for name in client.get("/api/about").headers)


def test_an_error_of_ours_is_told_to_us_alone(client, capsys, monkeypatch):
    monkeypatch.setattr("circlet.serve.gallery.Gallery.classes", lambda *given: 1 / 0)
    response = client.get("/api/classes")
    assert (response.status_code, response.json()["status"]) == (500, 500)
    assert "division" not in response.text
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_store_that_is_down_for_a_while(client, letters, monkeypatch, capsys):
    def down(*given):
        raise ConnectionError("postgresql://me:secret@host: down")

    for name in ("search", "put"):
        monkeypatch.setattr(type(letters.store), name, down)
    for path in ("/api/search", "/api/items?label=ant"):
        response = client.post(path, **sent(7))
        assert (response.status_code, "secret" in response.text) == (503, False)
    monkeypatch.undo()
    assert client.post("/api/items?label=ant", **sent(7)).status_code == 201
    assert len(letters) == 10


def test_one_line_each_in_the_log(client):
    client.lines.clear()
    client.get("/api/classes?text=secret")
    client.post("/api/search", **sent())
    client.get("/nothing%0a%1b[2J" + 300 * "x")
    assert [line.split()[2:5] for line in client.lines[:2]] == [
        ["GET", "/api/classes", "200"], ["POST", "/api/search", "200"]
    ]  # fmt: skip
    assert len(client.lines) == 3
    assert "secret" not in client.lines[0]
    assert client.lines[2].isprintable()
    assert len(client.lines[2]) < 220


def test_the_page_is_not_sent_twice(client):
    tag = client.get("/app.js").headers["etag"]
    assert client.get("/app.js", headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize("token", ["short", "x" * 257, "with a blank in it....", "ünïcödé-token-of-ours"])
def test_weak_tokens(letters, token):
    from circlet.serve import create_app

    with pytest.raises(ValueError, match=r"^token: found \d+ characters, expected 16 to 256") as caught:
        create_app(letters, token=token)
    assert token not in str(caught.value)
