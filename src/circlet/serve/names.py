"""Names of items and classes: what the service calls an item in addresses, and which labels it takes.

An id is a digest, so no address holds a path, and none becomes one. Enrolled items are named after the content and the
label together: enrolled twice, a picture is there once, whenever the service was stopped in between.
"""

import hashlib
import re
import unicodedata

from circlet.index.names import ADDED
from circlet.serve.refusal import Refusal
from circlet.terminal import printable

ENROLLED = f"{ADDED}enrolled/"
MAX_LABEL = 100
_ID = re.compile(r"[0-9a-f]{32}")


def content_of(picture: bytes) -> str:
    """Digest of an upload: that of a file with these bytes, as `circlet.data.content_digest` has it, in hexadecimal."""
    return hashlib.blake2b(picture, digest_size=16).hexdigest()


def enrolled_name(content: str, label: str) -> str:
    """Name in the index of a picture (its `content_of`) that is enrolled under a label.

    >>> len({enrolled_name("00", "ant"), enrolled_name("00", "ant"), enrolled_name("00", "bee")})
    2
    """
    return ENROLLED + _digest(f"{content} {label}")


def is_enrolled(name: str) -> bool:
    """Whether an item of the index was enrolled through the service."""
    return name.startswith(ENROLLED) and _ID.fullmatch(name.removeprefix(ENROLLED)) is not None


def id_of(name: str) -> str:
    """What addresses call an item: 32 hexadecimal digits.

    >>> id_of("added:enrolled/0123456789abcdef0123456789abcdef"), id_of("ant/1.jpg")
    ('0123456789abcdef0123456789abcdef', '...')
    """
    return name.removeprefix(ENROLLED) if is_enrolled(name) else _digest(name)


def checked_label(text: str | None) -> str:
    """The label as it is kept: composed (NFC), blanks at the ends gone, one between words.

    >>> checked_label("  Granny   Smith "), checked_label("../<b>")
    ('Granny Smith', '../<b>')

    Refusal (400) for nothing, more than 100 characters, and what a terminal obeys or what turns text round.
    """
    label = " ".join(unicodedata.normalize("NFC", text or "").split())
    if not label:
        raise Refusal(400, "label: found nothing, expected the name of a class")
    if len(label) > MAX_LABEL:
        raise Refusal(400, f"label: found {len(label)} characters, expected at most {MAX_LABEL}")
    if printable(label) != label:
        raise Refusal(400, "label: found characters that control how text is shown, expected text")
    return label


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
