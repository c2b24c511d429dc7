"""CUB-200-2011 (Wah et al. 2011): 200 species of birds, the first 100 to train on, as in Oh Song et al. 2016.

Whole images: the bounding boxes are not used, nor is train_test_split.txt, which splits images and not classes.
"""

from pathlib import Path

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import DataError, Splits
from circlet.data.listing import find_folder, listed_images, make_splits, read_lines, require_files

NUM_TRAIN_CLASSES = 100
LAYOUT = """\
ROOT/ or ROOT/CUB_200_2011/
  images.txt                   1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
  image_class_labels.txt       1 1
  images/001.Black_footed_Albatross/*.jpg   some of them grey"""


def cub200(root: str | Path) -> Splits:
    """Read CUB-200-2011: classes 1 to 100 train, every image of the others searches all of theirs.

    `root` is the folder CUB_200_2011 or holds it. A class is the folder of its images. A missing or malformed list, an
    image without a class, listed images that are not there and a class on both sides are a DataError.
    """
    folder = find_folder(root, "images.txt", "CUB_200_2011")
    lists = folder / "images.txt", folder / "image_class_labels.txt"
    class_of = {line.cells[0]: line.integer(1) for line in read_lines(lists[1], 2)}
    train: list[str] = []
    test: list[str] = []
    lines = read_lines(lists[0], 2)
    for line in lines:
        image_id, path = line.cells
        if image_id not in class_of:
            raise DataError(f"{line.where}: found image {image_id}, without a class in {lists[1]}, expected one")
        (train if class_of[image_id] <= NUM_TRAIN_CLASSES else test).append(path)
    images = folder / "images"
    require_files(images, [line.cells[1] for line in lines], lists[0], [line.number for line in lines])
    sets = (listed_images(images, [path.split("/")[0] for path in paths], paths) for paths in (train, test))
    return make_splits(lists[0], *sets)


CUB200 = DataSet(
    name="cub200",
    title="CUB-200-2011, birds",
    task="retrieval",
    load=cub200,
    counts=role_counts((5_864, 100), (5_924, 100)),
    source="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    licence="non-commercial research and education; the images belong to their photographers",
    layout=LAYOUT,
)
