"""One file of a repository of the hub: fetched beside its place, from where an earlier try has ended, then compared.

A part is called `.NAME.KEY.download`, by the checksum of the whole, so that parts of two contents are never mixed. It
outlives the process, other than the parts of `circlet.leftovers`; `remove_parts` takes those of contents that nobody
wants any more.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from circlet.download import sha256_of
from circlet.export.hub import is_of_client
from circlet.optional import need
from circlet.progress import progress

_CHUNK, _TIMEOUT_S, _TRIES = 1 << 18, 30.0, 3


class Wanted(NamedTuple):
    """A file of the repository: its size, and the checksum that the hub knows: SHA-256, or git's of a blob."""

    name: str
    size: int
    sha256: str | None
    blob: str | None

    @property
    def key(self) -> str:
        """What tells this content from another under the same name."""
        return (self.sha256 or self.blob or "")[:16]

    def is_at(self, path: Path) -> bool:
        """Whether the file at `path` is this one."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        return (self.sha256 or self.blob) == (sha256_of(path) if self.sha256 else blob_of(path))


def blob_of(path: Path) -> str:
    """The checksum that git has of a file's content, 40 hexadecimal digits."""
    begun = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: begun).hexdigest()


def fetch(api: Any, repository: str, commit: str, wanted: Wanted, folder: Path) -> None:
    """Fetch a file to its place, from where an earlier try has ended."""
    hub = need("huggingface_hub", "hub")
    url = hub.hf_hub_url(repository, wanted.name, revision=commit, endpoint=api.endpoint)
    headers = {**need("huggingface_hub.utils", "hub").build_hf_headers(), "Accept-Encoding": "identity"}
    part = _part(folder, wanted)
    if part.is_symlink() or (part.exists() and not part.is_file()):
        raise FileExistsError(f"{part}: found no regular file, expected none; remove it")
    done = part.stat().st_size if part.exists() else 0
    with progress(wanted.name, wanted.size, min(done, wanted.size), unit="B") as shown:
        for attempt in range(_TRIES):
            try:
                _stream(hub.get_session(), url, headers, wanted, part, shown.advance)
                break
            except Exception as error:
                broken_off = is_of_client(error) and not hasattr(error, "response")
                if not broken_off or attempt == _TRIES - 1:
                    raise
    if not wanted.is_at(part):
        size = part.stat().st_size
        part.unlink()
        raise OSError(f"{repository}: found {wanted.name} with another checksum than the hub states ({size:,} of "
                      f"{wanted.size:,} bytes); it was thrown away, try again")  # fmt: skip
    os.replace(part, folder / wanted.name)


def remove_parts(folder: Path, wanted: Sequence[Wanted], names: Sequence[str]) -> None:
    """Remove parts of files of these names whose content nobody wants any more."""
    kept = {_part(folder, each).name for each in wanted}
    pattern = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[0-9a-f]{{16}}\.download")
    for path in folder.iterdir():
        if pattern.fullmatch(path.name) and path.name not in kept and path.is_file() and not path.is_symlink():
            with suppress(OSError):
                path.unlink()


def _part(folder: Path, wanted: Wanted) -> Path:
    return folder / f".{wanted.name}.{wanted.key}.download"


def _stream(
    session: Any, url: str, headers: dict[str, str], wanted: Wanted, part: Path, advance: Callable[[int], None]
) -> None:
    """Add to the part what is missing in it, and no byte more than the file has."""
    with part.open("ab") as file:
        have = file.tell()
        if have >= wanted.size:
            return
        ranged = {**headers, "Range": f"bytes={have}-"} if have else headers
        with session.stream("GET", url, headers=ranged, follow_redirects=True, timeout=_TIMEOUT_S) as response:
            if response.status_code not in (200, 206):
                response.read()
                need("huggingface_hub.utils", "hub").hf_raise_for_status(response)
                raise OSError(f"{url}: the hub answered {response.status_code}, expected the file")
            if have and response.status_code == 200:  # it does not send parts
                file.seek(0)
                file.truncate()
                advance(-have)
                have = 0
            for chunk in response.iter_bytes(_CHUNK):
                kept = chunk[: wanted.size - have]
                file.write(kept)
                have += len(kept)
                advance(len(kept))
                if len(kept) < len(chunk):
                    raise OSError(f"{url}: found more than the {wanted.size:,} bytes that the hub states")
        file.flush()
        os.fsync(file.fileno())
