"""`circlet identify`: which class an image is of, or unknown."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from circlet.cli.common import Trust, choose_device
from circlet.cli.queries import asked_images, embedded_to_ask, open_to_read
from circlet.index import Identified
from circlet.index.searching import identify_rows
from circlet.terminal import printable

DESCRIPTION = """Say which class of an index an image is of, or that it is unknown.

The class is that of the most similar image, if it is similar enough. From which similarity on, a threshold says: chosen
for a wanted FPIR, the share of images of unknown classes that are taken for a known one, on classes that the model was
not trained on, and for as many classes as the index has. A line for each image, and below what the threshold means. Of
several images those that cannot be read are named and skipped.

examples:
  circlet identify photos.index query.jpg
  circlet identify photos.index monday/*.jpg --fpir 0.1
  circlet identify photos.index query.jpg --threshold 0.8 --format json

Exit status: 0 whatever the answer, 1 after an error, such as no threshold."""


@dataclass(frozen=True)
class IdentifyArguments:
    """Arguments of `circlet identify`."""

    index: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="INDEX")]
    """Index of circlet index: a folder, milvus:FILE, or the address of a server."""
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE ...")]
    """Image files, or a folder of images."""
    fpir: float = 0.01
    """Share of images of unknown classes that may be taken for a known one."""
    threshold: float | None = None
    """Accept from this cosine similarity on instead."""
    format: Literal["table", "json"] = "table"
    """table: text; json: all of it, with the nearest classes."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """The index's model, where it is not any more where it was: a run folder, a file, or a name."""
    trust: Trust = ()
    """Names (package.module:name) in the model's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Open, embed, decide, print."""
    parsed = tyro.cli(IdentifyArguments, args=arguments, prog="circlet identify", description=DESCRIPTION)
    with open_to_read(parsed.index, parsed.model, parsed.trust, choose_device(parsed.device)) as index:
        images = asked_images(parsed.images, index)
        rule, location = index.rule(fpir=parsed.fpir, threshold=parsed.threshold), index.location
        asked = embedded_to_ask(index.model, images)
        found = identify_rows(index.store, asked.rows, rule, index.num_classes)
    if parsed.format == "json":
        rows = [_plain(name, each) for name, each in zip(asked.images.names, found, strict=True)]
        print(json.dumps({"index": location, "images": rows, "skipped": asked.skipped_json()}, indent=2))
        return
    for name, each in zip(asked.images.names, found, strict=True):
        nearest = f", nearest {printable(each.candidates[0].label)}" if each.candidates and not each.label else ""
        print(f"{printable(name)}: {printable(each.label or 'unknown')} (similarity {each.similarity:.3f}{nearest})")
    print(f"threshold {rule.accept_from:.3f}: {printable(rule.meaning)}")


def _plain(name: str, found: Identified) -> dict[str, Any]:
    candidates = [each._asdict() for each in found.candidates]
    rate = None if found.threshold is None else found.threshold.rate
    return {"image": name, "label": found.label, "similarity": found.similarity, "threshold": found.accept_from,
            "fpir": rate, "meaning": found.meaning, "candidates": candidates}  # fmt: skip
