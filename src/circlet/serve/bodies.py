"""The body of a request: read whole, within limits of size, time and memory, and taken apart into pictures and texts.

Nothing of it touches the disk. A picture comes as the body itself (Content-Type: image/...), or as a part of
multipart/form-data, whose other parts are texts. What the type or a file name claims is not believed: what a picture
is, its bytes say, and names are not even looked at.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from circlet.serve.limits import MIB, Limits, Room
from circlet.serve.refusal import Refusal

_MOST_PARTS, _MOST_TEXT = 16, 4096
_NOT_MULTIPART = "body: found damaged multipart/form-data, expected parts that end with its boundary"


class Body(NamedTuple):
    """What was sent: bytes of pictures, and texts, by name."""

    pictures: dict[str, bytes]
    texts: dict[str, str]

    def picture(self, name: str) -> bytes:
        """The picture of that name; Refusal (400) where it is missing or empty."""
        found = self.pictures.get(name)
        if not found:
            raise Refusal(400, f"{name}: found {'nothing' if found is None else 'no byte'}, expected a picture")
        return found


@asynccontextmanager
async def body_bytes(
    request: Request, limits: Limits, memory: Room, *, max_mib: float | None = None
) -> AsyncIterator[bytes]:
    """The body, and within it the memory that it takes. max_mib: None: that of the limits.

    Refusal: 413 for a larger one than may be, 408 for one that does not arrive in time, 503 without memory for it.
    """
    max_mib = limits.max_mib if max_mib is None else max_mib
    most, taken = int(max_mib * MIB), 0
    claimed = _claimed_length(request)
    if claimed is not None and claimed > most:
        raise _too_large(max_mib)
    try:
        memory.take(claimed or 0)
        taken = claimed or 0
        chunks, size = [], 0
        try:
            async with asyncio.timeout(limits.seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise _too_large(max_mib)
                    if size > taken:
                        memory.take(size - taken)
                        taken = size
                    chunks.append(chunk)
        except TimeoutError:
            raise Refusal(408, f"body: found {size} bytes in {limits.seconds:g} seconds, expected all of it",
                          headers={"Connection": "close"}) from None  # fmt: skip
        yield b"".join(chunks)
    finally:
        memory.give(taken)


def taken_apart(content_type: str, body: bytes, query: dict[str, str], *, name: str = "image") -> Body:
    """The pictures and texts of a body; texts of the address (its query) too, which parts of the same name replace.

    >>> taken_apart("image/png", b"...", {"label": "ant"}, name="image")
    Body(pictures={'image': b'...'}, texts={'label': 'ant'})

    name: what a body that is a picture itself is called. Refusal: 400 for a damaged one, 415 for another type.
    """
    media_type, options = parse_options_header(content_type)
    if media_type.startswith(b"image/") or media_type in (b"", b"application/octet-stream"):
        return Body({name: body}, query)
    if media_type != b"multipart/form-data":
        raise Refusal(415, "Content-Type: found another, expected multipart/form-data or image/...")
    parts = _parts(options.get(b"boundary", b""), body)
    pictures = {part: content for part, content, is_file in parts if is_file}
    texts = {part: _text(part, content) for part, content, is_file in parts if not is_file}
    if len(pictures) + len(texts) < len(parts):
        raise Refusal(400, "body: found a part twice, expected each once")
    return Body(pictures, {**query, **texts})


def _parts(boundary: bytes, body: bytes) -> list[tuple[str, bytes, bool]]:
    """(name, content, whether it has a file name) of each part."""
    parts: list[tuple[str, bytes, bool]] = []
    headers: dict[bytes, bytes] = {}
    field, value, content = bytearray(), bytearray(), bytearray()
    ended = False

    def on_part_begin() -> None:
        headers.clear()
        content.clear()
        if len(parts) == _MOST_PARTS:
            raise Refusal(400, f"body: found more than {_MOST_PARTS} parts, expected fewer")

    def on_header_end() -> None:
        headers[bytes(field).lower()] = bytes(value)
        field.clear()
        value.clear()

    def on_part_end() -> None:
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        parts.append((name, bytes(content), b"filename" in options or b"filename*" in options))

    def on_end() -> None:
        nonlocal ended
        ended = True

    if not boundary:
        raise Refusal(400, "Content-Type: found no boundary, expected that of the parts")
    try:
        parser = MultipartParser(boundary, {
            "on_part_begin": on_part_begin,
            "on_header_field": lambda data, start, end: field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: value.extend(data[start:end]),
            "on_header_end": on_header_end,
            "on_part_data": lambda data, start, end: content.extend(data[start:end]),
            "on_part_end": on_part_end,
            "on_end": on_end,
        })  # fmt: skip
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise Refusal(400, _NOT_MULTIPART) from None
    if not ended:
        raise Refusal(400, _NOT_MULTIPART)
    return parts


def _text(name: str, content: bytes) -> str:
    if len(content) > _MOST_TEXT:
        raise Refusal(400, f"{name}: found {len(content)} bytes of text, expected at most {_MOST_TEXT}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Refusal(400, f"{name}: found bytes that are no UTF-8, expected text") from None


def _claimed_length(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _too_large(max_mib: float) -> Refusal:
    return Refusal(413, f"body: found more than {max_mib:g} MiB, expected at most that",
                   headers={"Connection": "close"})  # fmt: skip
