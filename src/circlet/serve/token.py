"""Who may use a service: whoever knows its token, in the header of each request or, on the page, once.

The page hands the token in and gets a cookie: until when it counts, and a keyed digest (HMAC) of that, so that the
cookie does not hold the token, goes out by itself, and ends with the token. HttpOnly: no script reads it.
SameSite=Strict: no other site's page sends it.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import cookie_parser

from circlet.data.regular import open_regular

MIN_CHARACTERS, MAX_CHARACTERS = 16, 256
SESSION_S = 30 * 24 * 3600
_TOKEN = re.compile(rf"[!-~]{{{MIN_CHARACTERS},{MAX_CHARACTERS}}}")


class Access:
    """Checks requests against a token; None: everybody may do everything.

    >>> access = Access("a-token-of-my-own!")
    >>> access.allows("Bearer a-token-of-my-own!", ""), access.allows("Bearer another-one", ""), Access(None).open
    (True, False, True)
    >>> access.allows("", access.session("a-token-of-my-own!"))
    True
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.time) -> None:
        self._token = None if token is None else checked_token(token).encode()
        self._clock = clock
        self.cookie = f"circlet-{self._mac('name')[:8]}"  # two services on one host share their cookies

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return self._token is None

    def allows(self, authorization: str, cookies: str) -> bool:
        """Whether a request with these headers (Authorization, Cookie) may pass."""
        return self.open or self._is_bearer(authorization) or self.has_session(cookies)

    def is_token(self, text: str) -> bool:
        """Whether that is the token, in a time that says nothing about it."""
        return self._token is not None and hmac.compare_digest(
            hashlib.sha256(text.encode(errors="replace")).digest(), hashlib.sha256(self._token).digest()
        )

    def session(self, token: str) -> str | None:
        """NAME=VALUE of a cookie that counts for thirty days; None where that is not the token."""
        if not self.is_token(token):
            return None
        until = str(int(self._clock()) + SESSION_S)
        return f"{self.cookie}={until}.{self._mac(until)}"

    def has_session(self, cookies: str) -> bool:
        """Whether the header Cookie holds one of ours that has not gone out."""
        until, _, mac = cookie_parser(cookies).get(self.cookie, "").partition(".")
        if self.open or not re.fullmatch(r"[0-9]{1,12}", until):
            return False
        if not hmac.compare_digest(mac.encode(errors="replace"), self._mac(until).encode()):
            return False
        return int(until) > self._clock()

    def _is_bearer(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(token.strip())

    def _mac(self, text: str) -> str:
        return hmac.new(self._token or b"", f"circlet session {text}".encode(), hashlib.sha256).hexdigest()


def checked_token(token: str) -> str:
    """The token; a ValueError, which does not show it, unless it is 16 to 256 visible ASCII characters."""
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            f"token: found {len(token)} characters, expected {MIN_CHARACTERS} to {MAX_CHARACTERS} of ASCII without "
            f"blanks, such as {new_token()}"
        )
    return token


def read_token(path: Path) -> str:
    """The token in a file's only line; a ValueError or OSError that names the file."""
    with open_regular(path) as file:
        raw = file.read(4 * MAX_CHARACTERS)
    try:
        return checked_token(raw.decode("ascii", errors="replace").strip())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def new_token() -> str:
    """One that nobody guesses: 144 bits."""
    return secrets.token_urlsafe(18)
