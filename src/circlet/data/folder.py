"""Image folders: one folder a class, with or without folders for the split.

Only the names are read: whether the files hold images shows when they are decoded. Non-image files and hidden names
are passed over. Nothing outside the root is ever read.
"""

import os
from pathlib import Path

from circlet.data.data_set import DataSet
from circlet.data.images import DataError, FileReader, ImageSet, Splits
from circlet.data.listing import make_splits, split_by_classes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
_LAYOUTS = "root/class/image, or root/train/class/image with root/query (and root/gallery), root/test or root/val"


def image_folder(root: str | Path, *, held_out: float = 0.5, seed: int = 0, closed_set: bool = False) -> Splits:
    """Read a folder of images, in sorted order.

    - root/class/image: no split is given, so the classes are split (`split_classes` with `held_out` and `seed`).
    - root/{train,query,gallery}/class/image, the gallery optional; or root/{train,test}/class/image or
      root/{train,val}/class/image, where every test image searches all the others. With both test and val, test is
      used and val is left alone.

    Class folders may be nested: the class is the path of the folder that holds the image, below the root or the split.
    A class folder without an image, an image outside any class folder, a link to a folder and a link that leaves the
    root are a DataError. `closed_set` allows test classes that are trained on.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: found {'a file' if root.exists() else 'nothing'}, expected a folder: {_LAYOUTS}")
    folders = {entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")}
    found = folders & {"train", "query", "gallery", "test", "val"}
    if found <= {"train"}:
        return split_by_classes(root, scan_folder(root, root), held_out, seed)
    query = next((name for name in ("query", "test", "val") if name in found), None)
    is_mixed = "query" in found and bool(found & {"test", "val"})
    if "train" not in found or query is None or is_mixed or (query != "query" and "gallery" in found):
        raise DataError(f"{root}: found the split folders {', '.join(sorted(found))}, expected {_LAYOUTS}")
    if folders - found:
        others = ", ".join(sorted(folders - found))
        raise DataError(f"{root}: found the folders {others} beside those of the split, expected no other")
    gallery = scan_folder(root, root / "gallery") if "gallery" in found else None
    train, test = scan_folder(root, root / "train"), scan_folder(root, root / query)
    return make_splits(root, train, test, gallery, closed_set=closed_set)


def scan_folder(root: Path, base: Path, *, unsorted: bool = False) -> ImageSet:
    """List the images below `base`: names relative to `root`, classes relative to `base`.

    unsorted: images outside any class folder are allowed, as the class "."; so are folders without an image.
    """
    classes: list[str] = []
    names: list[str] = []
    refused = [str(base)] if base != root and base.is_symlink() else []
    real_root = os.path.realpath(root)
    for folder, folders, files in os.walk(base):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                refused.append(path)
        images = sorted(
            name for name in files if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
        )
        for name in images:
            path = os.path.join(folder, name)
            if os.path.islink(path) and os.path.commonpath([real_root, os.path.realpath(path)]) != real_root:
                refused.append(path)
        where = Path(folder).relative_to(base).as_posix()
        if images and where == "." and not unsorted:
            raise DataError(f"{os.path.join(folder, images[0])}: found an image outside any class, expected {_LAYOUTS}")
        if not images and not folders and where != "." and not unsorted:
            raise DataError(
                f"{folder}: found a class folder without an image ({len(files)} other files), "
                f"expected at least one of {', '.join(sorted(SUFFIXES))}"
            )
        classes += [where] * len(images)
        names += [Path(folder, name).relative_to(root).as_posix() for name in images]
    if refused:
        raise DataError(
            f"{refused[0]}: found a link to {os.path.realpath(refused[0])} ({len(refused)} such links in all), "
            f"expected files, or links to files below {root}"
        )
    if not names:
        raise DataError(f"{base}: found no image, expected {'at least one' if unsorted else _LAYOUTS}")
    return ImageSet.from_classes(classes, names, FileReader(str(root), tuple(names)))


FOLDER = DataSet("folder", image_folder, title="your own images, a folder for each class", layout=_LAYOUTS)
