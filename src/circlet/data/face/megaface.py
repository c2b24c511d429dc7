"""MegaFace challenge 1 (Kemelmacher-Shlizerman et al. 2016): FaceScrub probes among a million distractors.

In the form that insightface distributes, aligned. Its lists of mislabelled images (facescrub_noises.txt and
megaface_noises.txt) are not applied: figures are those of the whole set, below what is published for the cleaned one.
"""

from pathlib import Path

from circlet.data.data_set import DataSet
from circlet.data.evaluation_sets import Identification
from circlet.data.images import DataError, ImageSet
from circlet.data.listing import find_folder, listed_images, read_lines, require_files

LAYOUT = """\
ROOT/ or ROOT/data/, ROOT/megaface_testpack_v1.0/
  facescrub_lst                Aaron_Eckhart/Aaron_Eckhart_24.png      a line for each probe, person/image
  facescrub_images/
  megaface_lst                 100/100999@N00/100999@N00_0.jpg         a line for each distractor
  megaface_images/
Lists of mislabelled images are not applied; published figures are often of the set without them, and higher."""


def megaface(root: str | Path) -> Identification:
    """Read MegaFace; the class of an image is the folder that holds it.

    A missing or malformed list, an image outside any folder and listed images that are not there are a DataError.
    """
    folder = find_folder(root, "facescrub_lst", "data", "megaface_testpack_v1.0")
    probes, distractors = _read(folder, "facescrub"), _read(folder, "megaface")
    try:
        return Identification(probes, distractors)
    except DataError as error:
        raise DataError(f"{folder / 'facescrub_lst'}: {error}") from error


def _read(folder: Path, name: str) -> ImageSet:
    lines = read_lines(folder / f"{name}_lst", 1)
    names = [line.cells[0] for line in lines]
    for line, path in zip(lines, names, strict=True):
        if "/" not in path:
            raise DataError(f"{line.where}: found {path!r}, expected a folder and an image")
    images = folder / f"{name}_images"
    require_files(images, names, folder / f"{name}_lst", [line.number for line in lines])
    return listed_images(images, [path.rpartition("/")[0] for path in names], names)


MEGAFACE = DataSet(
    name="megaface",
    title="MegaFace challenge 1",
    task="face identification",
    load=megaface,
    counts={"probe images": 3_530, "probe classes": 80, "distractor images": 1_027_058},
    source="withdrawn by its authors in 2020, was at http://megaface.cs.washington.edu/",
    licence="non-commercial research only; the persons did not consent",
    layout=LAYOUT,
)
