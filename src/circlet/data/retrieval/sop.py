"""Stanford Online Products (Oh Song et al. 2016): photographs of goods from eBay, half of the items to train on."""

from pathlib import Path

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import ImageSet, Splits
from circlet.data.listing import find_folder, listed_images, make_splits, read_lines, require_files

LAYOUT = """\
ROOT/ or ROOT/Stanford_Online_Products/
  Ebay_train.txt               image_id class_id super_class_id path
                               1 1 1 bicycle_final/111085122871_0.JPG
  Ebay_test.txt
  bicycle_final/*.JPG, cabinet_final/, ... (12 folders)"""


def sop(root: str | Path) -> Splits:
    """Read Stanford Online Products: every image of Ebay_test.txt searches all the others there.

    `root` is the folder Stanford_Online_Products or holds it. A class is its class_id. A missing or malformed list,
    listed images that are not there and a class in both lists are a DataError.
    """
    folder = find_folder(root, "Ebay_train.txt", "Stanford_Online_Products")
    return make_splits(folder / "Ebay_test.txt", *(_read(folder, f"Ebay_{role}.txt") for role in ("train", "test")))


def _read(folder: Path, name: str) -> ImageSet:
    lines = read_lines(folder / name, 4, skip=1, first="image_id class_id")
    paths = [line.cells[3] for line in lines]
    require_files(folder, paths, folder / name, [line.number for line in lines])
    return listed_images(folder, [line.cells[1] for line in lines], paths)


SOP = DataSet(
    name="sop",
    title="Stanford Online Products, goods",
    task="retrieval",
    load=sop,
    counts=role_counts((59_551, 11_318), (60_502, 11_316)),
    source="https://cvgl.stanford.edu/projects/lifted_struct/",
    licence="none stated for the images, which are from eBay",
    layout=LAYOUT,
)
