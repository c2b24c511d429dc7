"""Fetching one file with a known checksum into the user's cache.

A file appears under its name whole and checked, or not at all. Nothing is unpacked here.
"""

import hashlib
import os
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from circlet.data.images import DataError
from circlet.files import write_atomically

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0


def cache_dir() -> Path:
    """Return the folder for downloads: $CIRCLET_CACHE, else $XDG_CACHE_HOME/circlet, else ~/.cache/circlet."""
    if chosen := os.environ.get("CIRCLET_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "circlet"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, sha256: str) -> None:
    """Raise a DataError unless the file has this checksum."""
    if (found := sha256_of(path)) != sha256:
        raise DataError(f"{path}: found SHA-256 {found}, expected {sha256}; it is damaged or another file")


def download(url: str, path: Path, sha256: str) -> None:
    """Fetch `url` to `path` with a progress bar on a terminal; a file there already that has the checksum is kept.

    Any failure (network, disk, checksum) is a DataError or an OSError and leaves `path` as it was.
    """
    if path.is_file() and sha256_of(path) == sha256:
        return
    from tqdm import tqdm

    def fetch(file: BinaryIO) -> None:
        digest = hashlib.sha256()
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
                num_bytes = int(response.headers.get("Content-Length") or 0) or None
                with tqdm(total=num_bytes, desc=path.name, unit="B", unit_scale=True, disable=None) as bar:
                    while chunk := response.read(_CHUNK_BYTES):
                        file.write(chunk)
                        digest.update(chunk)
                        bar.update(len(chunk))
        except (OSError, HTTPException) as error:
            raise DataError(f"{url}: the download failed ({error})") from error
        if (found := digest.hexdigest()) != sha256:
            raise DataError(f"{url}: found a file with SHA-256 {found}, expected {sha256}")

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, fetch)
