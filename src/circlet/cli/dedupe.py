"""`circlet dedupe`: copies in a set of images, and the set without them as links."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.cli.common import choose_device, outputs
from circlet.cli.curating import embedded, opened
from circlet.curate import duplicates
from circlet.curate.duplicates import num_copies
from circlet.curate.listing import duplicate_rows, table_of
from circlet.curate.overlay import SAME
from circlet.curate.page import duplicates_page
from circlet.curate.placing import by_own_name, place_images
from circlet.files import write_text
from circlet.inference import DEFAULT, load_model
from circlet.terminal import printable, storable

DESCRIPTION = f"""Find equal files and near duplicates: cropped, resized, mirrored, brightened or saved again.

The pictures that an embedding takes for alike are laid over each other, and are one where their details agree. Of each
the largest file is kept, then the first by name. Nothing is ever deleted: OUT.csv lists what could go and what it is a
copy of, OUT.html shows it, and --link-unique makes a folder of links to the images that are kept.

examples:
  circlet dedupe photos
  circlet dedupe photos --exact
  circlet dedupe photos --threshold 0.9 --link-unique unique

--threshold is the agreement of details from which on two images are one picture, by default {SAME:g}. A copy has about
.99; 0.8 finds shots of one scene within seconds too. Exit status: 0, whatever is found; 1 after an error."""


@dataclass(frozen=True)
class DedupeArguments:
    """Arguments of `circlet dedupe`."""

    photos: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """A folder (all images below it), or a manifest (.csv or .parquet)."""
    threshold: float = SAME
    """Agreement of details from which on two images are one picture: above 0, at most 1."""
    exact: bool = False
    """Equal files alone: no network, no decoding."""
    out: Path = Path("duplicates")
    """Path of the files to write, without their suffix."""
    link_unique: Annotated[Path | None, tyro.conf.arg(metavar="NEW_FOLDER")] = None
    """Make this folder, of links to the images without their copies, in the folders that they are in."""
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")] = DEFAULT
    """What finds candidates: a pretrained network, a run folder, or a .safetensors file."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Embed, compare, write, say."""
    parsed = tyro.cli(DedupeArguments, args=arguments, prog="circlet dedupe", description=DESCRIPTION)
    if not 0 < parsed.threshold <= 1:
        raise ValueError(f"--threshold: found {parsed.threshold:g}, expected a number above 0 and at most 1")
    files = outputs(parsed.out, {"page": ".html", "table": ".csv"})
    if parsed.link_unique is not None and parsed.link_unique.exists():
        raise FileExistsError(f"{parsed.link_unique}: found something there, expected nothing (--link-unique)")
    images, _ = opened(parsed.photos)
    rows, broken = None, list[tuple[str, str]]()
    if not parsed.exact:
        model = load_model(parsed.model, device=choose_device(parsed.device))
        images, rows, _, broken = embedded(model, images)
    groups = duplicates(images, rows, same=parsed.threshold)
    write_text(files["table"], table_of(duplicate_rows(images, groups)))
    title = storable(str(parsed.photos))
    write_text(files["page"], duplicates_page(images, groups, title, files["table"].name))
    copies = [num_copies(groups, exact=exact) for exact in (True, False)]
    print(f"{printable(str(parsed.photos))}: {len(images):,} images, of which {sum(copies):,} could go: {copies[0]:,} "
          f"equal files, {copies[1]:,} near duplicates")  # fmt: skip
    if broken:
        print(f"{len(broken):,} could not be read and were passed over (named above)")
    if parsed.link_unique is not None:
        gone = {image for group in groups for image in group.images[1:]}
        kept = [index for index in range(len(images)) if index not in gone]
        place_images(images, kept, by_own_name(images, kept), parsed.link_unique)
        print(f"links to the {len(kept):,} others: {printable(str(parsed.link_unique))}")
    print(f"page: {printable(str(files['page'].resolve()))}\nto act on: {printable(str(files['table']))}")
