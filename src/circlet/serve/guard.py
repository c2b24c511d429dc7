"""What every request passes: the name it was sent to, where it comes from, who sends it, how much is asked at once.

Also what every answer carries: headers that tell browsers to run nothing but the page's own files, and errors as JSON.
Nothing that a request does raises beyond this; each leaves one line in the log.
"""

import sys
import time
import traceback
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from circlet.resources import explained
from circlet.serve.hosts import check_host, check_origin
from circlet.serve.limits import Buckets, Limits, Room, is_loopback
from circlet.serve.log import access_line
from circlet.serve.page import PATHS
from circlet.serve.refusal import Refusal
from circlet.serve.token import Access
from circlet.terminal import printable, say

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=()",
}
OPEN = PATHS | {"/openapi.json", "/api/health", "/api/session"}
"""Paths that need no token: the page, which holds nothing of the index, its description, and where one signs in."""
CUSTOM = "x-circlet"
"""A header that a page of another site cannot send without asking first, which we never allow."""
_READS = frozenset({"GET", "HEAD"})


class Guard:
    """ASGI middleware around the whole service."""

    def __init__(
        self, app: ASGIApp, *, access: Access, limits: Limits, names: frozenset[str] = frozenset(),
        log: Callable[[str], None] = say, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.app, self.access, self.log, self.clock = app, access, log, clock
        self.names = frozenset(name.lower().rstrip(".") for name in names)
        self.work = Buckets(limits.rate, limits.burst, clock)
        self.failures = Buckets(0.2, 10, clock)  # tries of a token: each address, this machine too
        self.in_flight = Room(limits.in_flight, f"requests: found {limits.in_flight} that are worked on, expected "
                                                "fewer; come again in a moment")  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a web socket: nobody is there
        began, status, received, started = time.perf_counter(), 499, 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        client = scope["client"][0] if scope.get("client") else ""
        try:
            self._check(scope, client)
            with self.in_flight.held(1):
                await self.app(scope, counted, sent)
        except ClientDisconnect:
            pass
        except Exception as error:
            refusal = _refusal(error)
            if not started:
                await refusal.response()(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - began
            self.log(access_line(client, scope["method"], scope["path"], status, seconds, received))

    def _check(self, scope: Scope, client: str) -> None:
        headers = Headers(scope=scope)
        check_host(headers.get("host", ""), self.names)
        changes = scope["method"] not in _READS
        if changes:
            check_origin(headers)
        if scope["path"] == "/api/session" and scope["method"] == "POST":
            self.check_failures(client)
        elif scope["path"] not in OPEN:
            self._check_token(headers, client, changes)
        if changes and not is_loopback(client) and (wait := self.work.wait(client)):
            raise Refusal(429, "requests: found more than one address may send, expected fewer; come again in a moment",
                          retry_s=wait)  # fmt: skip

    def _check_token(self, headers: Headers, client: str, changes: bool) -> None:
        authorization, cookies = headers.get("authorization", ""), headers.get("cookie", "")
        if not self.access.allows(authorization, cookies):
            if authorization:
                self.check_failures(client)
            raise Refusal(401, "token: found none, or another, expected that of this service (Authorization: Bearer)",
                          headers={"WWW-Authenticate": "Bearer"})  # fmt: skip
        if changes and not authorization and CUSTOM not in headers and self.access.has_session(cookies):
            raise Refusal(403, "X-Circlet: found no such header, expected one with a session's request")

    def check_failures(self, client: str) -> None:
        """Refusal (429) for an address that has tried too many tokens; counts one more."""
        if wait := self.failures.wait(client):
            raise Refusal(429, "token: found too many tries, expected fewer; come again later", retry_s=wait)


async def unrouted(request: Request, error: Exception) -> Response:
    """The answer where the router knows no such path, or not with this method."""
    assert isinstance(error, HTTPException), "it is called for no other"
    what = "address" if error.status_code == 404 else "method"
    sentence = f"{what}: found another, expected one of those that /openapi.json tells"
    return Refusal(error.status_code, sentence, headers=dict(error.headers or {})).response()


def _refusal(error: Exception) -> Refusal:
    """What the client is told; what it is not told is said on standard error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, MemoryError) or explained(error) is not None:
        say(f"circlet serve: {explained(error) or error}")
        return Refusal(503, "memory: found too little for this now; come again in a moment", retry_s=5)
    if isinstance(error, ConnectionError):
        say(f"circlet serve: {error}")
        return Refusal(503, "store: found it out of reach, expected it to answer; come again in a moment", retry_s=5)
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(printable(line), file=sys.stderr, flush=True)
    return Refusal(500, "service: found an error of its own, which its log tells")
