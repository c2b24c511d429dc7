"""Uploads that mean harm: each is refused in one sentence, or is a picture and nothing else."""

import asyncio
import io
import struct
import time
import zlib

import pytest
from PIL import Image
from starlette.requests import Request

from circlet.serve import Limits
from circlet.serve.bodies import body_bytes
from circlet.serve.limits import Room
from circlet.serve.pictures import Studio
from circlet.serve.refusal import Refusal
from tests.serve.made_up import picture, run


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, content=b""):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


SCRIPT = b"<script>alert(1)</script>"
REFUSED = {
    "a bomb": (png(60_000, 60_000, bytes(1 << 20)), 413),
    "huge by its head": (png(2**31 - 1, 2**31 - 1), 413),
    "wide": (png(2**31 - 1, 1), 413),
    "no pixels": (png(0, 0), 415),
    "fewer pixels than it says": (png(100, 100, b"1"), 422),
    "truncated": (picture(1, "JPEG")[:-20], 422),
    "only a head": (picture(1)[:20], 415),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'>" + SCRIPT + b"</svg>", 415),
    "HTML": (b"<!doctype html>" + SCRIPT, 415),
    "HTML that begins like a GIF": (b"GIF89a/*" + SCRIPT + b"*/=1;", 415),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
    "an icon": (b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0h\4\0\0\x16\0\0\0", 415),
    "a zip file": (b"PK\3\4" + bytes(60), 415),
    "zeros": (bytes(1000), 415),
    "text": (b"hello", 415),
}


@pytest.mark.parametrize("path", ["/api/search", "/api/identify", "/api/items?label=x"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture(client, letters, tmp_path, name, path):
    content, status = REFUSED[name]
    response = client.post(path, content=content, headers={"Content-Type": "image/png"})
    assert response.status_code == status, response.text
    answer = response.json()
    assert answer["error"].startswith("image: found")
    assert "<script>" not in answer["error"]
    assert "\n" not in answer["error"]
    assert str(tmp_path) not in answer["error"]
    assert len(letters) == 9
    assert not (tmp_path / "letters.index.enrolled").exists()


@pytest.mark.parametrize("claimed", ["image/svg+xml", "image/jpeg", "application/octet-stream", "", "image/../x"])
def test_what_is_claimed_is_not_believed(client, claimed):
    response = client.post("/api/search", content=picture(101), headers={"Content-Type": claimed})
    assert response.json()["neighbours"][0]["name"] == "bee/1.png"


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "a\\..\\b", "/etc/passwd", "a%00b.png", ".", "", "x" * 5000])
def test_file_names_are_not_looked_at(client, letters, tmp_path, name):
    response = client.post("/api/items", files={"image": (name, picture(7))}, data={"label": "x"})
    assert response.status_code in (201, 400)  # httpx sends no file without a name
    kept = [path.name for path in tmp_path.rglob("*.jpg")]
    assert kept == ([f"{response.json()['id']}.jpg"] if response.status_code == 201 else [])


def test_what_hangs_on_to_a_picture_goes_nowhere(client, tmp_path):
    content = picture(7, "JPEG") + SCRIPT
    done = client.post("/api/items?label=x", content=content, headers={"Content-Type": "text/html"})
    assert done.status_code == 415
    id = client.post("/api/items?label=x", content=content, headers={"Content-Type": "image/jpeg"}).json()["id"]
    shown = client.get(f"/api/items/{id}/thumbnail")
    assert shown.headers["content-type"] == "image/webp"
    assert shown.headers["x-content-type-options"] == "nosniff"
    kept = next(tmp_path.rglob("*.jpg")).read_bytes()
    assert SCRIPT not in shown.content + kept


def test_a_picture_within_the_limit_of_bytes_and_above_that_of_pixels(served):
    client = served(limits=Limits(max_megapixels=0.001))
    refused = client.post("/api/search", content=picture(1), headers={"Content-Type": "image/png"})
    assert (refused.status_code, "expected at most 0.001 megapixels" in refused.text) == (413, True)
    webp = io.BytesIO()
    Image.new("RGB", (20, 20)).save(webp, "WEBP")
    assert (
        client.post("/api/search", content=webp.getvalue(), headers={"Content-Type": "image/webp"}).status_code == 413
    )


def test_a_body_that_is_too_large(served):
    client = served(limits=Limits(max_mib=0.001))
    refused = client.post("/api/search", content=bytes(2000), headers={"Content-Type": "image/png"})
    assert (refused.status_code, refused.json()["status"]) == (413, 413)


def read(messages, limits, room=None, headers=()):
    """What `body_bytes` makes of the messages of a server; a number is seconds to wait."""
    left = list(messages)

    async def receive():
        while left and isinstance(left[0], float):
            await asyncio.sleep(left.pop(0))
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def whole():
        request = Request({"type": "http", "method": "POST", "headers": list(headers)}, receive)
        async with body_bytes(request, limits, room or Room(1e9, "full")) as body:
            return body

    return run(whole())


def test_bodies_in_pieces():
    assert read([b"ab", 0.001, b"", b"c"], Limits()) == b"abc"


@pytest.mark.parametrize(
    ("messages", "headers", "status"),
    [
        ([b"x" * 700, b"x" * 700], (), 413),
        ([b""], [(b"content-length", b"9999999999")], 413),
        ([b"x", 5.0, b"x"], (), 408),
        ([b"x" * 600], (), 503),
        ([b"x"], [(b"content-length", b"600")], 503),
    ],
)
def test_bodies_that_take_too_much(messages, headers, status):
    room = Room(500 if status == 503 else 10_000, "full")
    with pytest.raises(Refusal) as caught:
        read(messages, Limits(max_mib=0.001, seconds=0.05), room, headers)
    assert (caught.value.status, room.taken) == (status, 0)


@pytest.mark.parametrize("length", [b"-1", b"1e3", "²".encode(), b"9" * 30, b""])
def test_lengths_that_are_none(length):
    assert read([b"abc"], Limits(), headers=[(b"content-length", length)]) == b"abc"


def test_a_picture_that_takes_too_long(letters):
    async def slow():
        studio = Studio(letters.model.decoding, Limits(seconds=0.05))
        try:
            await studio.do(time.sleep, 0.3)
        finally:
            studio.close()

    with pytest.raises(Refusal, match="seconds over while decoding it"):
        run(slow())
