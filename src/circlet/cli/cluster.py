"""`circlet cluster`: images sorted by how they look, without labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.cli.common import Trust, choose_device, outputs
from circlet.cli.curating import embedded, opened
from circlet.cli.queries import chosen_source
from circlet.curate import agreement, clusters_of
from circlet.curate.clusters import LEAST, MOST, Clusters
from circlet.curate.page import clusters_page
from circlet.curate.placing import by_cluster, place_images
from circlet.curate.spreadsheet import csv_text
from circlet.data import ImageSet
from circlet.files import write_text
from circlet.inference import DEFAULT, load_model
from circlet.optional import need
from circlet.terminal import printable, storable

DESCRIPTION = f"""Sort images into clusters by how they look; labels are not needed, and are not used.

How many clusters there are is found (HDBSCAN), and images that belong to none stay outside. Writes OUT.csv (image,
cluster, strength, class) and OUT.html, a page with the pictures. Where the images are in folders of classes, how well
the clusters agree with them is said (AMI: 0 by chance, 1 the same). At most {MOST:,} images at once.
Pip's extra: circlet[cluster].

examples:
  circlet cluster photos
  circlet cluster photos --least 10 --folders sorted
  circlet cluster photos --run runs/folder-1 --folders sorted --copy

Exit status: 0, or 1 after an error."""


@dataclass(frozen=True)
class ClusterArguments:
    """Arguments of `circlet cluster`."""

    photos: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """A folder (all images below it), or a manifest (.csv or .parquet)."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Run folder whose model to use."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """A pretrained network by name, or a .safetensors file of circlet export; by default efficientnet_lite0."""
    least: int = LEAST
    """Images of the smallest cluster; more gives fewer, larger clusters."""
    out: Path = Path("clusters")
    """Path of the files to write, without their suffix."""
    folders: Annotated[Path | None, tyro.conf.arg(metavar="NEW_FOLDER")] = None
    """Make this folder, with a folder for each cluster, of links to its images."""
    copy: bool = False
    """Copies in --folders instead of links."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Embed, cluster, write, say."""
    parsed = tyro.cli(ClusterArguments, args=arguments, prog="circlet cluster", description=DESCRIPTION)
    if parsed.least < 2:
        raise ValueError(f"--least: found {parsed.least}, expected at least 2 images in a cluster")
    if parsed.copy and parsed.folders is None:
        raise ValueError("--copy: found without --folders, expected a folder to copy into")
    if parsed.folders is not None and parsed.folders.exists():
        raise FileExistsError(f"{parsed.folders}: found something there, expected nothing (--folders)")
    need("sklearn", "cluster")  # before the images are embedded
    files = outputs(parsed.out, {"page": ".html", "table": ".csv"})
    source = chosen_source(parsed.run, parsed.model) or DEFAULT
    images, _ = opened(parsed.photos)
    model = load_model(source, trust=parsed.trust, device=choose_device(parsed.device))
    images, rows, _, broken = embedded(model, images)
    found = clusters_of(rows, least=parsed.least)
    agreed = agreement(found, images.labels) if images.num_classes > 1 else None
    write_text(files["table"], _csv(images, found))
    title = storable(str(parsed.photos))
    write_text(files["page"], clusters_page(images, found, agreed, title, files["table"].name))
    alone = int((found.cluster < 0).sum())
    print(f"{printable(str(parsed.photos))}: {len(images):,} images in {found.number:,} clusters, {alone:,} in none, "
          f"by {printable(model.name)}")  # fmt: skip
    if not found.number:
        print(f"no {parsed.least} images are so much more alike than the others that they make a cluster (--least)")
    if agreed is not None:
        print(f"agreement with the {images.num_classes:,} classes: AMI {agreed.ami:.3f}, "
              f"V-measure {agreed.v_measure:.3f}, purity {agreed.purity:.3f}")  # fmt: skip
    if broken:
        print(f"{len(broken):,} could not be read and were passed over (named above)")
    if parsed.folders is not None:
        place_images(images, range(len(images)), by_cluster(images, found), parsed.folders, copy=parsed.copy)
        print(f"{'copies' if parsed.copy else 'links'}: {printable(str(parsed.folders))}")
    print(f"page: {printable(str(files['page'].resolve()))}\ntable: {printable(str(files['table']))}")


def _csv(images: ImageSet, found: Clusters) -> str:
    """A line for each image, in their order; clusters count from 1, and the field is empty for an image in none."""
    rows = []
    for name, label, cluster, strength in zip(images.names, images.labels, found.cluster, found.strength, strict=True):
        number = "" if cluster < 0 else int(cluster) + 1
        rows.append((name, number, f"{strength:.3f}", images.class_names[label]))
    return csv_text(("image", "cluster", "strength", "class"), rows, paths=("image",))
