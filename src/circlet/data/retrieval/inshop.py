"""In-Shop Clothes Retrieval (DeepFashion, Liu et al. 2016): items of clothing, with queries and a gallery."""

from pathlib import Path

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import DataError, Splits
from circlet.data.listing import find_folder, listed_images, make_splits, read_lines, require_files

LAYOUT = """\
ROOT/
  list_eval_partition.txt      here or in Eval/; line 1: how many images, line 2: the names of the columns
                               img/WOMEN/Dresses/id_00000002/02_1_front.jpg id_00000002 train
  img/WOMEN/...                here or in Img/"""


def inshop(root: str | Path) -> Splits:
    """Read In-Shop: train, query and gallery as in list_eval_partition.txt; a class is its item_id.

    A missing or malformed list, one with fewer lines than it says, listed images that are not there and an item both in
    train and query or gallery are a DataError.
    """
    file = find_folder(root, "list_eval_partition.txt", "Eval") / "list_eval_partition.txt"
    lines = read_lines(file, 3, skip=2, first="image_name")
    count = read_lines(file, (1, 3))[0]
    if count.integer(0) != len(lines):
        raise DataError(f"{count.where}: found {len(lines)} images below, expected {count.cells[0]} as it says")
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "query": [], "gallery": []}
    for line in lines:
        name, item, status = line.cells
        if status not in parts:
            raise DataError(f"{line.where}: found {status!r}, expected train, query or gallery")
        parts[status].append((item, name))
    images = find_folder(root, "img", "Img")
    require_files(images, [line.cells[0] for line in lines], file, [line.number for line in lines])
    sets = (listed_images(images, [item for item, _ in part], [name for _, name in part]) for part in parts.values())
    return make_splits(file, *sets)


INSHOP = DataSet(
    name="inshop",
    title="In-Shop Clothes Retrieval (DeepFashion)",
    task="retrieval",
    load=inshop,
    counts=role_counts((25_882, 3_997), (14_218, 3_985), (12_612, 3_985)),
    source="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
    licence="non-commercial research only, by agreement with CUHK",
    layout=LAYOUT,
)
