"""The page: a few files of the package, served as they are. They hold nothing of the index.

Not one self-contained file as reports are (`circlet.pages`): the page talks to the service, which its content security
policy must allow, and nothing is put into it, so that there is no template.
"""

import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FILES = {
    "/": ("text/html", ("serve/static/index.html",)),
    "/style.css": ("text/css", ("pages/palette.css", "serve/static/style.css")),
    "/app.js": ("text/javascript", ("serve/static/app.js",)),
    "/requests.js": ("text/javascript", ("serve/static/requests.js",)),
    "/parts.js": ("text/javascript", ("serve/static/parts.js",)),
    "/icon.svg": ("image/svg+xml", ("serve/static/icon.svg",)),
}


PATHS = frozenset(_FILES)
"""Of the page; they need no token."""


def page_routes() -> list[Route]:
    """A route for each file, read once."""
    return [_route(path, kind, names) for path, (kind, names) in _FILES.items()]


def _route(path: str, kind: str, names: tuple[str, ...]) -> Route:
    content = "".join((files("circlet") / name).read_text(encoding="utf-8") for name in names).encode()
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'

    async def answer(request: Request) -> Response:
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return Route(path, answer, methods=["GET"])
