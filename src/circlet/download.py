"""Fetching one file of which the whole SHA-256 is known, over https alone.

A file appears under its name whole and checked, or not at all; a download that was cut off is begun again. Nothing is
unpacked here or anywhere: archives are read where they lie (`circlet.data.archive`), so that no name in one can lead
elsewhere.
"""

import hashlib
import os
import re
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, BinaryIO

from circlet.files import write_atomically

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0


class DownloadError(OSError):
    """A file that could not be fetched, or is not the one expected; the message names the address."""


def cache_dir() -> Path:
    """The folder for downloads: $CIRCLET_CACHE, else $XDG_CACHE_HOME/circlet, else ~/.cache/circlet."""
    if chosen := os.environ.get("CIRCLET_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "circlet"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, sha256: str) -> None:
    """Fetch `url` to `path`, with a progress bar on a terminal; a file there already that has the checksum is kept.

    >>> download("http://example.org/weights.pth", Path("weights.pth"), "0" * 64)
    Traceback (most recent call last):
    ValueError: url: found 'http://example.org/weights.pth', expected an address that begins with https://

    Any failure (network, checksum, disk) is an OSError that names the address or the file, and leaves `path` as it was.
    A ValueError for an address that does not begin with https:// and for less than the whole SHA-256, since neither
    says what one gets.
    """
    if not url.startswith("https://"):
        raise ValueError(f"url: found {url!r}, expected an address that begins with https://")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"sha256: found {sha256!r} for {url}, expected all 64 hexadecimal digits, in lower case")
    if path.is_file() and sha256_of(path) == sha256:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, lambda file: _fetch(url, file, path.name, sha256))
    except OSError as error:
        if isinstance(error.__cause__, DownloadError):  # nothing is wrong with our disk
            raise error.__cause__  # noqa: B904
        raise


def _fetch(url: str, file: BinaryIO, title: str, sha256: str) -> None:
    """Write what is at `url` into `file`; a DownloadError unless it has the checksum."""
    from tqdm import tqdm

    digest = hashlib.sha256()
    try:
        with _open(url) as response:
            num_bytes = int(response.headers.get("Content-Length") or 0) or None
            with tqdm(total=num_bytes, desc=title, unit="B", unit_scale=True, disable=None) as bar:
                while chunk := response.read(_CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url}: the download failed ({error})") from error
    if (found := digest.hexdigest()) != sha256:
        raise DownloadError(f"{url}: found a file with SHA-256 {found}, expected {sha256}")


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows a redirection to another https address, and refuses one that leads away from https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            raise DownloadError(f"found a redirection to {newurl}, expected one to https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str) -> Any:
    return urllib.request.build_opener(_HttpsOnly).open(url, timeout=_TIMEOUT_S)
