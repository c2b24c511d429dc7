"""The service as an ASGI application: routes, and the guard around them."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from circlet.serve.api import Api
from circlet.serve.gallery import Gallery
from circlet.serve.guard import Guard, unrouted
from circlet.serve.limits import Limits
from circlet.serve.page import page_routes
from circlet.serve.service import Service
from circlet.serve.token import Access
from circlet.terminal import say

if TYPE_CHECKING:
    from circlet.index import Index


def create_app(
    index: "Index",
    *,
    token: str | None = None,
    limits: Limits | None = None,
    names: Collection[str] = (),
    pictures: Path | None = None,
    root: Path | None = None,
    read_only: bool = False,
    log: Callable[[str], None] = say,
) -> Starlette:
    """The service of an open index: the page at /, the API below /api, its description at /openapi.json.

    index: open, for writing unless `read_only`; it stays the caller's, who closes it after the application has shut
    down. token: what requests must carry; None: nothing, for this machine alone. limits: None: the usual ones. names:
    of hosts that it goes by, beside addresses and localhost. pictures: the folder of enrolled pictures; None: beside
    the index. root: where the indexed images lie; None: as the index says. log: what is given a line for each request.

    ValueError for a token that is too short, and without `pictures` where the index is no folder.
    """
    limits, access = limits or Limits(), Access(token)
    gallery = Gallery(index, pictures=pictures, root=root, read_only=read_only, max_enrolled=limits.max_enrolled)
    service = Service(gallery, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            await service.warm_up()
            yield
        finally:
            service.close()

    guard = Middleware(Guard, access=access, limits=limits, names=frozenset(names), log=log)
    routes = [*page_routes(), *Api(service, access, limits).routes()]
    app = Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: unrouted}, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.state.gallery = gallery
    return app
