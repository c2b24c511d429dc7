"""Requests that nobody should send, thousands of them: each is answered, none by a 500, and the index stays whole.

    .venv/bin/python -m tests.serve.fuzz_requests 10000

They go to the application itself, so that what a client library would not send is sent too.
"""

import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

from circlet.serve import Limits, create_app
from tests.serve.made_up import index, picture

PATHS = [
    *("/", "/api/search", "/api/identify", "/api/identify", "/api/verify", "/api/items", "/api/items", "/api/classes"),
    *("/api/items/{id}", "/api/items/{id}/thumbnail", "/api/about", "/api/health", "/api/session", "/openapi.json"),
    *("/app.js",),
]
METHODS = [
    *("GET", "GET", "GET", "POST", "POST", "POST", "POST", "POST", "DELETE", "HEAD"),
    *("OPTIONS", "PUT", "PATCH", "TRACE", "", "get", "\0", "P" * 99),
]
WORDS = [
    *(
        "0",
        "1",
        "-1",
        "12",
        "99999999999999999999",
        "nan",
        "inf",
        "1e308",
        "0.01",
        "../../etc/passwd",
        "%00",
        "<script>",
    ),
    *("ant", "ä", "null", "[]", "true", "'", "{id}", "", "\0", "\r\nX: y", "\ud800", "\u202e", "x" * 5000, '"'),
]
TYPES = [
    *("multipart/form-data", "image/png", "image/", "text/html", "application/json", "", ";;;=", "multipart/mixed"),
    *("application/x-www-form-urlencoded", "image/png; a=b; a*=c''%zz", "multipart/form-data; boundary="),
    *('multipart/form-data; boundary="', "multipart/form-data; boundary=" + "b" * 99),
]
HEADERS = [
    *("content-length", "origin", "authorization", "cookie", "x-circlet", "sec-fetch-site", "if-none-match"),
    *("transfer-encoding", "range", "accept-encoding", "\xff"),
]


def damaged(draw, content):
    """The bytes with a few changes."""
    content = bytearray(content)
    for _ in range(draw.choice((0, 0, 1, 3, 30))):
        at = draw.randrange(len(content) + 1)
        change = draw.randrange(4)
        if change == 0 and content:
            content[at % len(content)] = draw.randrange(256)
        elif change == 1:
            content[at:at] = draw.randbytes(draw.randrange(9))
        elif change == 2:
            del content[at : at + draw.randrange(50)]
        else:
            del content[at:]
    return bytes(content)


def body(draw):
    """The body of a request, and the type that it is of."""
    shown = picture(draw.randrange(40), draw.choice(("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")))
    shown = damaged(draw, shown) if draw.random() < 0.3 else shown
    kind = draw.randrange(6)
    if kind == 0:
        return draw.randbytes(draw.randrange(400)), draw.choice(TYPES)
    if kind == 1:
        return json.dumps({"token": draw.choice(WORDS)}).encode(), "application/json"
    if kind == 2:
        return shown, "image/png"
    parts = []
    for name in ("image", "label", *draw.choices(("a", "b", "k", "fpir", *WORDS), k=draw.choice((0, 0, 1, 2, 20)))):
        if draw.random() < 0.05:
            continue
        file = draw.choice(('; filename="x"', '; filename="../x"', "; filename*=utf-8''%ff"))
        file = file if name == "image" or draw.random() < 0.1 else ""
        value = shown if file else draw.choice(WORDS).encode(errors="surrogatepass")
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        parts.append(head.encode(errors="surrogatepass") + value + b"\r\n")
    whole = b"".join(parts) + (b"--b--\r\n" if draw.random() < 0.9 else draw.choice((b"--b--", b"--b", b"")))
    return whole if draw.random() < 0.7 else damaged(draw, whole), "multipart/form-data; boundary=b"


def request(draw, ids):
    """A request as servers hand it over: scope, and the body in pieces."""
    path = draw.choice(PATHS).replace("{id}", draw.choice((*ids, *WORDS)))
    if draw.random() < 0.05:
        path += "/" + draw.choice(WORDS)
    names = ("k", "label", "limit", "text", "fpir", "far", *WORDS)
    query = "&".join(f"{draw.choice(names)}={draw.choice(WORDS)}" for _ in range(draw.choice((0, 0, 0, 1, 3))))
    content, kind = body(draw)
    kind = kind if draw.random() < 0.9 else draw.choice(TYPES)
    host = b"127.0.0.1" if draw.random() < 0.95 else draw.choice((b"evil.example", b"", b"\xff"))
    headers = [(b"host", host), (b"content-type", kind.encode())]
    for name in HEADERS:
        if draw.random() < 0.03:
            value = draw.choice((*WORDS, str(len(content)), "Bearer x", "same-origin", "http://127.0.0.1"))
            headers.append((name.encode("latin-1"), value.encode(errors="surrogatepass")))
    raw = path.encode(errors="surrogatepass")
    takes = "POST" if path.rpartition("/")[2] in ("search", "identify", "verify", "items", "session") else "GET"
    method = takes if draw.random() < 0.7 else draw.choice(METHODS)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "method": method,
        "path": path,
        "raw_path": raw,
        "headers": headers,
        "query_string": query.encode(errors="surrogatepass"),
        "server": ("127.0.0.1", 8000),
        "client": draw.choice((("127.0.0.1", 1), ("192.0.2.7", 1), None)),
    }
    return scope, content


async def answer(app, scope, content, draw):
    """Status and body of the answer; the client may go away in the middle."""
    pieces = [content[at : at + 4096] for at in range(0, len(content), 4096)] or [b""]
    leaves = draw.random() < 0.02
    messages = [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)} for i, piece in enumerate(pieces)
    ]
    if leaves:
        messages = [{**messages[0], "more_body": True}]
    sent = []

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    starts = [message for message in sent if message["type"] == "http.response.start"]
    if not starts:
        assert leaves, (scope, content)
        return None, b""
    assert len(starts) == 1, (scope, content)
    return starts[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def fuzz(number, seed, folder):
    """So many requests, up to eight at once; how many of each status."""
    draw = random.Random(seed)
    counts = {}
    with index(folder) as letters:
        app = create_app(letters, limits=Limits(max_mib=0.25, burst=10**9, seconds=60), log=lambda line: None)
        ids = []
        async with app.router.lifespan_context(app):
            for _ in range(0, number, 8):
                asked = [request(draw, ids) for _ in range(8)]
                got = await asyncio.gather(*(answer(app, *each, random.Random(draw.random())) for each in asked))
                for (scope, content), (status, text) in zip(asked, got, strict=True):
                    counts[status] = counts.get(status, 0) + 1
                    assert status != 500, (scope, content)
                    if status is not None and status >= 400 and scope["method"] != "HEAD":
                        found = json.loads(text)
                        assert found["status"] == status
                        assert isinstance(found["error"], str)
                    if status == 201:
                        ids = [json.loads(text)["id"], *ids[:20]]
        items = letters.items()
        assert len({item.name for item in items}) == len(items)
        enrolled = sorted(item.name.rpartition("/")[2] for item in items if item.name.startswith("added:"))
        assert sorted(path.stem for path in folder.rglob("*.jpg")) == enrolled
    return counts


def main():
    """Requests that were asked for on the command line."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = asyncio.run(fuzz(number, seed, Path(folder)))
    told = ", ".join(f"{count} x {status}" for status, count in sorted(counts.items(), key=str))
    print(f"{number} requests in {time.perf_counter() - began:.0f} s, none answered by a 500: {told}")


if __name__ == "__main__":
    main()
