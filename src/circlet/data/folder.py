"""Image folders: one folder a class, with or without folders for the split.

Names are read, and the first bytes of files whose suffix says nothing: whether files hold sound images shows when they
are decoded. Nothing outside the root is ever read. What cannot be listed is an error; what is passed over is told of.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from circlet.data.data_set import DataSet
from circlet.data.images import DataError, FileReader, ImageSet, Splits
from circlet.data.listing import make_splits, split_by_classes
from circlet.data.notes import say_once
from circlet.data.passed_over import PassedOver, by_kind
from circlet.data.signatures import SUFFIXES
from circlet.data.split_folders import ToTest, choose_tested, find_split, refuse_splits_inside
from circlet.data.walk import folders_in, walk, what_is_at

_LAYOUTS = "root/class/image, or root/train/class/image with root/query (and root/gallery), root/test or root/val"


def image_folder(root: str | Path, *, held_out: float = 0.5, seed: int = 0, closed_set: bool = False) -> Splits:
    """Read a folder of images, in sorted order.

    - root/class/image: no split is given, so the classes are split (`split_classes` with `held_out` and `seed`). So are
      those of root/train/class/image without another part.
    - root/{train,query,gallery}/class/image, the gallery optional; or root/{train,test}/class/image or
      root/{train,val}/class/image, where every test image searches all the others. With both test and val, test is
      used and val is left alone, which is said on standard error.

    These go in any case, and as training, valid, validation, dev, testing and probe too. Class folders may be nested:
    the class is the path of the folder that holds the image, below the root or the split.

    Files are images by their suffix, or by their first bytes where it says nothing; others are passed over, counted on
    standard error. A class folder without an image, an image outside any class folder, a folder that cannot be listed,
    a link to a folder and a link that leaves the root are a DataError; and what could be a split but is not plainly
    one, and class names that only look the same. `closed_set` allows test classes that are trained on.
    """
    root = Path(root)
    parts = split_of(root)
    if not parts:
        images = _read_parts(root, ("",))[""]
        return split_by_classes(root, images, held_out, seed)
    tested = choose_tested(str(root), parts, _LAYOUTS)
    if "train" not in parts:
        raise DataError(f"{root}: found the split folders {', '.join(sorted(parts.values()))}, expected {_LAYOUTS}")
    train = parts["train"]
    if tested is None:
        say_once(f"{root}: found {train} and no folder to test on, so the classes in it are split")
        return split_by_classes(root, _read_parts(root, (train,))[train], held_out, seed)
    tested.tell_training(str(root), parts)
    sets = _read_parts(root, (train, *tested.names))
    return make_splits(root, sets[train], sets[tested.query], sets.get(tested.gallery or ""), closed_set=closed_set)


def folder_to_test(root: Path) -> Splits:
    """The part of a folder to test on, as query (and gallery) of `Splits`, whose train means nothing.

    As in `image_folder`, query (with gallery), else test, else val; said on standard error. Without split folders it is
    every image, sorted into classes or not.
    """
    parts = split_of(root)
    if not parts:
        images = _read_parts(root, ("",), unsorted=True)[""]
        return make_splits(root, images, images, closed_set=True)
    tested = choose_tested(str(root), parts, _LAYOUTS) or ToTest(parts["train"], None, ())
    tested.tell(str(root), parts.values())
    sets = _read_parts(root, tested.names)
    query = sets[tested.query]
    return make_splits(root, query, query, sets.get(tested.gallery or ""), closed_set=True)


def split_of(root: Path) -> dict[str, str]:
    """The split folders directly below a root, by role; empty where there is none. See `find_split`."""
    if (found := what_is_at(root)) != "a folder":
        raise DataError(f"{root}: found {found}, expected a folder: {_LAYOUTS}")
    return find_split(str(root), folders_in(str(root)), lambda name: bool(folders_in(os.path.join(root, name))))


def _read_parts(root: Path, parts: Sequence[str], *, unsorted: bool = False) -> dict[str, ImageSet]:
    """The images of some folders below `root` ("": itself)."""
    passed = PassedOver()
    if parts != ("",):
        top = next(walk(str(root), str(root)))
        _require_no_links(top.refused, root)
        passed.add(str(root), (*top.passed_over, *("image outside the split",) * len(top.images)), has_image=True)
    sets = {part: scan_folder(root, root / part, passed, unsorted=unsorted) for part in parts}
    for part, images in sets.items():
        refuse_splits_inside(str(root / part), images.class_names)
    passed.tell(str(root))
    return sets


def scan_folder(root: Path, base: Path, passed: PassedOver, *, unsorted: bool = False) -> ImageSet:
    """List the images below `base`: names relative to `root`, classes relative to `base`.

    passed: takes in what else is there. unsorted: images outside any class folder are allowed, as the class "."; so are
    folders without an image.
    """
    classes: list[str] = []
    names: list[str] = []
    others: list[str] = []
    refused = [str(base)] if base != root and base.is_symlink() else []
    for listing in walk(str(base), str(root)):
        where = Path(listing.path).relative_to(base).as_posix()
        prefix = Path(listing.path).relative_to(root).as_posix()
        refused += listing.refused
        if listing.images and where == "." and not unsorted:
            image = os.path.join(listing.path, listing.images[0])
            raise DataError(f"{image}: found an image outside any class, expected {_LAYOUTS}")
        if not (listing.images or listing.folders or listing.refused or where == "." or unsorted):
            raise DataError(f"{listing.path}: found a class folder without an image{_counted(listing.passed_over)}, "
                            f"expected at least one of {', '.join(sorted(SUFFIXES))}")  # fmt: skip
        passed.add(listing.path, listing.passed_over, has_image=bool(listing.images) or where == ".")
        passed.add_taken(listing.by_content)
        others += listing.passed_over
        classes += [where] * len(listing.images)
        names += listing.images if prefix == "." else [f"{prefix}/{name}" for name in listing.images]
    _require_no_links(refused, root)
    if not names:
        found = _counted(others) if others else ""
        raise DataError(f"{base}: found no image{found}, expected {'at least one' if unsorted else _LAYOUTS}")
    return ImageSet.from_classes(classes, names, FileReader(str(root), tuple(names)))


def _require_no_links(refused: Sequence[str], root: Path) -> None:
    """Raise a DataError if there are links that lead to folders, to nothing or out of the root."""
    if refused:
        there = "" if os.path.exists(refused[0]) else ", where nothing is"
        raise DataError(
            f"{refused[0]}: found a link to {os.path.realpath(refused[0])}{there} ({len(refused)} such links in all), "
            f"expected files, or links to files below {root}"
        )


def _counted(kinds: Sequence[str]) -> str:
    return f" ({len(kinds)} other files)" + (f": {by_kind(Counter(kinds))}" if kinds else "")


FOLDER = DataSet("folder", image_folder, title="your own images, a folder for each class", layout=_LAYOUTS)
