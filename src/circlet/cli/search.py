"""`circlet search`: the images of an index that are most similar to others."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from circlet.cli.common import Trust, choose_device
from circlet.cli.queries import Asked, asked_images, embedded_to_ask, open_to_read
from circlet.curate.spreadsheet import csv_text
from circlet.files import write_text
from circlet.index import Index, Neighbour
from circlet.index.searching import search_rows
from circlet.terminal import printable
from circlet.vectors.checks import check_k

DESCRIPTION = """Find the images of an index that are most similar to yours.

Similarity is that of cosine, 1 at most. Where the very file that is searched for is in the index, byte for byte, it
comes first, marked as the same file, and --k others after it. Of several images those that cannot be read are named and
skipped.

examples:
  circlet search photos.index query.jpg
  circlet search photos.index monday/*.jpg --k 5 --out monday.html
  circlet search photos.index query.jpg --format json

Exit status: 0, or 1 after an error."""

Format = Literal["table", "json", "html", "csv"]
_SUFFIXES: dict[str, Format] = {".html": "html", ".htm": "html", ".json": "json", ".csv": "csv"}


@dataclass(frozen=True)
class SearchArguments:
    """Arguments of `circlet search`."""

    index: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="INDEX")]
    """Index of circlet index: a folder, milvus:FILE, or the address of a server."""
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE ...")]
    """Image files, or a folder of images."""
    k: int = 10
    """How many neighbours of each."""
    format: Format | None = None
    """table: text; json and csv: for programs; html: a page with pictures. By default what --out ends with, else
    table."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write to this file; by default what is no page is printed, and a page is written to search.html."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """The index's model, where it is not any more where it was: a run folder, a file, or a name."""
    trust: Trust = ()
    """Names (package.module:name) in the model's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Open, embed, search, show."""
    parsed = tyro.cli(SearchArguments, args=arguments, prog="circlet search", description=DESCRIPTION)
    chosen = parsed.format or _SUFFIXES.get("" if parsed.out is None else parsed.out.suffix.lower(), "table")
    out = Path("search.html") if parsed.out is None and chosen == "html" else parsed.out
    if out is not None and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        raise OSError(f"{out}: found no place to write a file, expected one (--out)")
    check_k(parsed.k)
    with open_to_read(parsed.index, parsed.model, parsed.trust, choose_device(parsed.device)) as index:
        images = asked_images(parsed.images, index)
        asked = embedded_to_ask(index.model, images)
        found = search_rows(index.store, asked.images, asked.rows, parsed.k)
        text = _FORMS[chosen](index, asked, found)
    if out is None:
        print(text)
    else:
        write_text(out, text if text.endswith("\n") else f"{text}\n")
        number = len(asked.images)
        print(f"{number:,} image{'s' if number != 1 else ''} searched for: {printable(str(out))}")


def _table(index: Index, asked: Asked, found: Sequence[Sequence[Neighbour]]) -> str:
    """A block for each image, aligned: rank, similarity, class, name."""
    blocks = []
    for name, neighbours in zip(asked.images.names, found, strict=True):
        width = max((len(printable(each.label)) for each in neighbours), default=0)
        lines = [printable(name)]
        number = 0
        for each in neighbours:
            number += not each.same
            rank = "=" if each.same else str(number)
            told = "  (the same file)" if each.same else ""
            label = f"{printable(each.label):<{width}}  " if width else ""
            lines.append(f"{rank:>4}  {each.similarity:6.3f}  {label}{printable(each.name)}{told}")
        blocks.append("\n".join(lines if neighbours else [*lines, "  the index is empty"]))
    return "\n\n".join(blocks)


def _json(index: Index, asked: Asked, found: Sequence[Sequence[Neighbour]]) -> str:
    queries = [
        {"image": name, "neighbours": [{**each._asdict(), "path": _path(index, each)} for each in neighbours]}
        for name, neighbours in zip(asked.images.names, found, strict=True)
    ]
    told = {"index": index.location, "model": index.mark.name, "queries": queries, "skipped": asked.skipped_json()}
    return json.dumps(told, indent=2)


def _csv(index: Index, asked: Asked, found: Sequence[Sequence[Neighbour]]) -> str:
    rows = []
    for name, neighbours in zip(asked.images.names, found, strict=True):
        for rank, each in enumerate(neighbours, 1):
            path = _path(index, each) or ""
            rows.append((name, rank, each.name, each.label, f"{each.similarity:.6f}", int(each.same), path))
    heading = ("image", "rank", "name", "label", "similarity", "same", "path")
    return csv_text(heading, rows, paths=("image", "name", "path")).rstrip("\n")


def _html(index: Index, asked: Asked, found: Sequence[Sequence[Neighbour]]) -> str:
    from circlet.index.page import search_page

    return search_page(index, asked.images, found)


def _path(index: Index, found: Neighbour) -> str | None:
    path = index.path_of(found.name)
    return None if path is None else str(path)


_FORMS = {"table": _table, "json": _json, "csv": _csv, "html": _html}
