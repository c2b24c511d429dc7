"""Which names a service answers to, and whether a request comes from its own page.

A page of the web may point its own name at 127.0.0.1 (DNS rebinding) and then read what is served there. An address
cannot be pointed elsewhere, so addresses and "localhost" are always answered, names only where they were given. And a
page may send requests to other places, which carry where they come from (Origin, Sec-Fetch-Site): only those of our own
page, and of programs that are no browser, may ask for work.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from circlet.serve.refusal import Refusal

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")


def check_host(host: str, names: frozenset[str]) -> None:
    """Refusal (421) unless the header Host is an address, localhost, or one of the names (in lower case).

    >>> check_host("127.0.0.1:8000", frozenset()), check_host("[::1]", frozenset())
    (None, None)
    >>> check_host("rebound.example", frozenset())
    Traceback (most recent call last):
    circlet.serve.refusal.Refusal: Host: found a name that this service does not go by; it answers to ...
    """
    found = _HOST.fullmatch(host)
    name = found[1].lower().rstrip(".") if found else ""
    if not (name == "localhost" or name in names or _is_address(name)):
        raise Refusal(421, "Host: found a name that this service does not go by; it answers to its address, to "
                           "localhost, and to names given by --name")  # fmt: skip


def check_origin(headers: Mapping[str, str]) -> None:
    """Refusal (403) for a request that a page of another site has sent.

    >>> check_origin({"host": "localhost:8000", "origin": "http://localhost:8000", "sec-fetch-site": "same-origin"})
    >>> check_origin({"host": "localhost:8000", "origin": "https://example.org"})
    Traceback (most recent call last):
    circlet.serve.refusal.Refusal: Origin: found another site's page, expected the service's own
    """
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    own = headers.get("host", "").lower()
    if site not in ("none", "same-origin") or (origin is not None and _netloc(origin) != own):
        raise Refusal(403, "Origin: found another site's page, expected the service's own")


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
