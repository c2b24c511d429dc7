"""`circlet index`: the images of a folder as vectors to be searched, made once and kept up to date."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from circlet.cli.common import Trust, by_all_ranks
from circlet.cli.queries import chosen_source
from circlet.data import every_image
from circlet.data.vector_files import FILES
from circlet.distributed import silence_other_ranks
from circlet.index import Index, Updated
from circlet.index.readying import make_ready
from circlet.inference import DEFAULT, load_model
from circlet.terminal import printable

DESCRIPTION = f"""Index images, to search, identify and serve them; nothing needs to be trained.

Every image below PHOTOS becomes a vector of a model: of a run of circlet train, or of a pretrained network as it is
({DEFAULT}, which needs no download). The folder that holds an image is its class; images beside each other in
PHOTOS itself have none. Done again, new and changed images alone are looked at, and those that are gone are removed;
what has changed is told by content. An index that was interrupted goes on where it was. An image that cannot be read
is named, counted and left out.

To tell known from unknown (circlet identify) an index has thresholds: those of the run, chosen on its validation
classes; with a pretrained network they are chosen on the classes of PHOTOS, each in turn taken for unknown.

examples:
  circlet index photos
  circlet search photos.index query.jpg
  circlet index photos --run runs/folder-1 --out mine.index
  circlet index features.parquet --run runs/vectors-1
  circlet index photos --model timm/vit_small_patch14_dinov2 --store milvus:photos.db
  torchrun --nproc-per-node 2 -m -- circlet index photos --run runs/folder-1

Exit status: 0 when the index is up to date, images that cannot be read or not; 1 after an error, of which --on-error
raise makes one of such an image; 130 when interrupted."""


@dataclass(frozen=True)
class IndexArguments:
    """Arguments of `circlet index`."""

    photos: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    """A folder (all images below it, classes by folder), or a manifest with path and label (.csv or .parquet)."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Run folder whose model to use."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """A pretrained network by name, or a .safetensors file of circlet export. By default that of the index, or
    efficientnet_lite0."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="INDEX")] = None
    """Folder of the index; by default PHOTOS.index, here."""
    store: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Where vectors are kept instead: milvus:FILE.db, http://HOST:19530/COLLECTION or postgresql://..."""
    on_error: Literal["skip", "raise"] = "skip"
    """skip or raise: what to do at an image that cannot be read."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    timeout: float = 600.0
    """Seconds after which a process started by torchrun gives up on another that does not answer."""


def main(arguments: list[str]) -> None:
    """Load, compare, embed, say what was done; the ranks that torchrun has started share what is to be embedded."""
    with silence_other_ranks():
        parsed = tyro.cli(IndexArguments, args=arguments, prog="circlet index", description=DESCRIPTION)
        by_all_ranks(parsed.device, parsed.timeout, lambda device: _index(parsed, device))


def _index(parsed: IndexArguments, device: torch.device) -> None:
    source, location = chosen_source(parsed.run, parsed.model), _location(parsed)
    began = time.monotonic()
    # Where there are none, nothing is made; whether such a file has images or vectors its model says.
    images = None if parsed.photos.suffix.lower() in FILES else every_image(parsed.photos)
    with _opened(parsed, source, location, device) as index:
        looked = time.monotonic()
        try:
            updated = index.update(parsed.photos, listed=images, on_error=parsed.on_error)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; what is in {location} stays, and the same command goes on "
                                    "from there") from None  # fmt: skip
        seconds = time.monotonic() - looked
        told = []
        if updated.new or updated.changed or updated.gone or index.thresholds_due:
            told = [make_ready(index.store, updated.new + updated.changed), index.settle_thresholds()]
        _say(index, updated, seconds, time.monotonic() - began, told)


def _location(parsed: IndexArguments) -> str:
    if parsed.store is not None and parsed.out is not None:
        raise ValueError("--store: found with --out, expected one of the two")
    if parsed.store is not None:
        return parsed.store
    name = parsed.photos.resolve()
    out = Path(f"{name.stem if name.is_file() else name.name or 'photos'}.index") if parsed.out is None else parsed.out
    if out.resolve() == name:
        raise ValueError(f"--out: found {out}, the folder of the images, expected another")
    return str(out)


def _opened(parsed: IndexArguments, source: str | Path | None, location: str, device: torch.device) -> Index:
    """The index that is there, with its own model unless another is named; else a new one."""
    if source is None:
        try:
            return Index.open(location, trust=parsed.trust, device=device)
        except FileNotFoundError:
            pass
    return Index.create(load_model(source or DEFAULT, trust=parsed.trust, device=device), location)


def _say(index: Index, updated: Updated, seconds: float, in_all: float, told: list[str]) -> None:
    classes = len(index.classes())
    of = f" of {classes:,} class{'es' if classes > 1 else ''}" if classes else ", no classes"
    print(f"{printable(index.location)}: {len(index):,} images{of}, by {printable(index.mark.name)}")
    print(f"new {updated.new:,}, changed {updated.changed:,}, gone {updated.gone:,}, unchanged {updated.unchanged:,}; "
          f"{in_all:.1f} s in all")  # fmt: skip
    if updated.embedded:
        print(f"embedded {updated.embedded:,} images in {seconds:.1f} s, {updated.embedded / seconds:.1f} images/s")
    for line in filter(None, told):
        print(printable(line))
    if updated.skipped:
        number = len(updated.skipped)
        print(f"WARNING: {number:,} image{'s' if number > 1 else ''} could not be read and "
              f"{'are' if number > 1 else 'is'} not in the index (named above)")  # fmt: skip
    print(f"next: circlet search {printable(index.location)} IMAGE")
