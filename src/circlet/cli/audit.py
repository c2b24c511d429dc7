"""`circlet audit`: what is wrong with a set of images, before anybody trains on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.cli.common import Trust, choose_device, outputs
from circlet.cli.curating import embedded, opened
from circlet.cli.queries import chosen_source
from circlet.curate import audit
from circlet.curate.listing import audit_json, audit_rows, summary, table_of
from circlet.curate.page import audit_page
from circlet.files import write_json, write_text
from circlet.inference import DEFAULT, load_model
from circlet.terminal import printable, storable

DESCRIPTION = """Look for what is wrong with a set of images; nothing is changed, and nothing needs to be trained.

Found are: equal files, near duplicates (cropped, resized, mirrored, saved again), pictures on both sides of a split,
images whose label their neighbours contradict, classes that look like one, classes with fewer than five images, and
images that cannot be read. The split is that of the folders (train, test, ...), or that of --run.

Writes OUT.html, a page with the pictures side by side, OUT.csv to act on (kind, image, other image, score, suggestion)
and OUT.json. A path that begins as a formula does (=, +, -, @) has ./ before it in the CSV.

examples:
  circlet audit photos
  circlet audit photos --run runs/folder-1 --out audits/photos

Exit status: 0, whatever is found; 1 after an error."""


@dataclass(frozen=True)
class AuditArguments:
    """Arguments of `circlet audit`."""

    photos: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """A folder (all images below it, classes by folder), or a manifest (.csv or .parquet)."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Run folder whose model and split to use. A network that was trained on wrong labels may have learnt them."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """A pretrained network by name, or a .safetensors file of circlet export; by default efficientnet_lite0."""
    out: Path = Path("audit")
    """Path of the files to write, without their suffix."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Embed, look, write, say."""
    parsed = tyro.cli(AuditArguments, args=arguments, prog="circlet audit", description=DESCRIPTION)
    files = outputs(parsed.out, {"page": ".html", "table": ".csv", "json": ".json"})
    source = chosen_source(parsed.run, parsed.model) or DEFAULT
    images, roles = opened(parsed.photos, parsed.run)
    model = load_model(source, trust=parsed.trust, device=choose_device(parsed.device))
    images, rows, roles, broken = embedded(model, images, roles)
    found = audit(images, rows, roles=roles, broken=broken)
    write_text(files["table"], table_of(audit_rows(found)))
    write_json(files["json"], {"photos": storable(str(parsed.photos)), "model": model.name, **audit_json(found)})
    title = storable(str(parsed.photos))
    write_text(files["page"], audit_page(found, title, files["table"].name))
    print(f"{printable(str(parsed.photos))}: {len(images):,} images of {images.num_classes:,} classes, by "
          f"{printable(model.name)}")  # fmt: skip
    print("\n".join(f"  {line}" for line in summary(found)))
    print(f"page: {printable(str(files['page'].resolve()))}\nto act on: {printable(str(files['table']))}")
