"""The JSON API: from HTTP to what the service does, and back."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import circlet
from circlet.serve import answers
from circlet.serve.bodies import Body, body_bytes, taken_apart
from circlet.serve.limits import MIB, Limits, Room
from circlet.serve.refusal import Refusal
from circlet.serve.schema import openapi
from circlet.serve.service import Service
from circlet.serve.token import MAX_CHARACTERS, SESSION_S, Access

_MOST_NEIGHBOURS, _MOST_LISTED = 100, 500
_SMALL_MIB = 1 / 256  # of a body that holds a token


class Api:
    """Handlers of requests."""

    def __init__(self, service: Service, access: Access, limits: Limits) -> None:
        self.service, self.gallery, self.access, self.limits = service, service.gallery, access, limits
        self.memory = Room(limits.memory_mib * MIB, "memory: found too many uploads at once, expected fewer; come "
                                                    "again in a moment")  # fmt: skip
        self._description = openapi(circlet.__version__)

    def routes(self) -> list[Route]:
        """All of /api, and its description."""
        handlers: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("POST", "/api/search", self.search),
            ("POST", "/api/identify", self.identify),
            ("POST", "/api/verify", self.verify),
            ("GET", "/api/items", self.items),
            ("POST", "/api/items", self.enrol),
            ("DELETE", "/api/items/{id}", self.take_back),
            ("GET", "/api/items/{id}/thumbnail", self.thumbnail),
            ("GET", "/api/classes", self.classes),
            ("GET", "/api/about", self.about),
            ("GET", "/api/health", self.health),
            ("POST", "/api/session", self.sign_in),
            ("DELETE", "/api/session", self.sign_out),
            ("GET", "/openapi.json", self.description),
        ]
        return [Route(path, handler, methods=[method]) for method, path, handler in handlers]

    async def search(self, request: Request) -> Response:
        """Items like a picture."""
        async with self._sent(request) as body:
            return _json(await self.service.search(body.picture("image"), _neighbours(body)))

    async def identify(self, request: Request) -> Response:
        """Which class a picture shows, or none."""
        async with self._sent(request) as body:
            fpir = _rate(body, "fpir", 0.01)
            return _json(await self.service.identify(body.picture("image"), _neighbours(body), fpir))

    async def verify(self, request: Request) -> Response:
        """Whether two pictures show one class."""
        async with self._sent(request) as body:
            far = _rate(body, "far", 0.001)
            return _json(await self.service.verify(body.picture("a"), body.picture("b"), far))

    async def enrol(self, request: Request) -> Response:
        """Put a picture into the index."""
        async with self._sent(request) as body:
            done = await self.service.enrol(body.picture("image"), body.texts.get("label"))
        return _json(done, 201 if done.created else 200)

    async def take_back(self, request: Request) -> Response:
        """Take it out again."""
        return _json(await self.service.take_back(request.path_params["id"]))

    async def items(self, request: Request) -> Response:
        """Enrolled items, latest first, or those of a class."""
        texts = dict(request.query_params)
        limit = _whole(texts, "limit", 100, _MOST_LISTED)
        return _json(await self.service.at_index(self.gallery.listed, texts.get("label"), limit))

    async def classes(self, request: Request) -> Response:
        """Classes, by name."""
        texts = dict(request.query_params)
        limit = _whole(texts, "limit", 100, _MOST_LISTED)
        return _json(await self.service.at_index(self.gallery.classes, texts.get("text", ""), limit))

    async def about(self, request: Request) -> Response:
        """What is served."""
        return _json(await self.service.at_index(self.gallery.about, self.limits))

    async def thumbnail(self, request: Request) -> Response:
        """A small picture of an item."""
        content = await self.service.thumbnail(request.path_params["id"])
        return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})

    async def health(self, request: Request) -> Response:
        """That the service answers."""
        headers = request.headers
        signed_in = self.access.allows(headers.get("authorization", ""), headers.get("cookie", ""))
        return _json(answers.Health("ok", circlet.__version__, not self.access.open, signed_in))

    async def sign_in(self, request: Request) -> Response:
        """A cookie for the token. The guard counts the tries."""
        async with body_bytes(request, self.limits, self.memory, max_mib=_SMALL_MIB) as raw:
            token = _token(raw)
        cookie = self.access.session(token)
        if cookie is None:
            raise Refusal(401, "token: found another, expected that of this service")
        secure = "; Secure" if request.headers.get("origin", "").startswith("https:") else ""
        rest = f"; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_S}{secure}"
        return Response(status_code=204, headers={"Set-Cookie": cookie + rest})

    async def sign_out(self, request: Request) -> Response:
        """The cookie goes out of this browser."""
        rest = "; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        return Response(status_code=204, headers={"Set-Cookie": f"{self.access.cookie}={rest}"})

    async def description(self, request: Request) -> Response:
        """The API, as OpenAPI."""
        return JSONResponse(self._description)

    @asynccontextmanager
    async def _sent(self, request: Request) -> AsyncIterator[Body]:
        """What was sent; within it the time for the answer counts."""
        async with body_bytes(request, self.limits, self.memory) as raw:
            content_type, query = request.headers.get("content-type", ""), dict(request.query_params)
            body = await self.service.studio.do(taken_apart, content_type, raw, query)
            try:
                async with asyncio.timeout(self.limits.seconds):
                    yield body
            except TimeoutError:
                raise Refusal(503, f"service: found {self.limits.seconds:g} seconds over, expected an answer by then; "
                                   "it is busy", retry_s=5) from None  # fmt: skip


def _json(answer: Any, status: int = 200) -> Response:
    return JSONResponse(asdict(answer), status)


def _neighbours(body: Body) -> int:
    return _whole(body.texts, "k", 12, _MOST_NEIGHBOURS)


def _whole(texts: dict[str, str], name: str, default: int, most: int) -> int:
    text = texts.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise Refusal(400, f"{name}: found something else, expected a whole number from 1 to {most}")
    return int(text)


def _rate(body: Body, name: str, default: float) -> float:
    try:
        rate = float(body.texts.get(name, default))
    except ValueError:
        rate = math.nan
    if not 0 < rate < 1:
        raise Refusal(400, f"{name}: found something else, expected a number above 0 and below 1")
    return rate


def _token(raw: bytes) -> str:
    try:
        token = json.loads(raw)["token"]
    except (ValueError, TypeError, LookupError, RecursionError):
        token = None
    if not isinstance(token, str) or len(token) > MAX_CHARACTERS:
        raise Refusal(400, 'body: found something else, expected JSON with the token: {"token": "..."}')
    return token
