"""Folds by classes, and splits by images within classes; a group is never cut by either.

For the one split by classes see `hold_out_classes`.
"""

import numpy as np

from circlet.data.images import DataError, ImageSet, class_parts


def fold_classes(images: ImageSet, folds: int, seed: int = 0) -> list[tuple[ImageSet, ImageSet]]:
    """Split a set by classes `folds` times into (train, held out), each class held out once.

    >>> from circlet.data import FileReader
    >>> images = ImageSet.from_classes(list("aabbcde"), list("1234567"), FileReader("photos", ()))
    >>> [(train.num_classes, out.num_classes) for train, out in fold_classes(images, 2)]
    [(2, 3), (3, 2)]

    Numbers of classes held out differ by one at most, or with groups by as little as large parts of joined classes
    allow: these go first, each to the fold that has the fewest. Images keep their order, and one seed always gives the
    same folds.

    folds: at least 2, at most the number of classes (a DataError otherwise), or of parts that groups leave of them
    (a `JoinedClassesError`).
    """
    if folds < 2:
        raise ValueError(f"folds: found {folds}, expected at least 2")
    if folds > images.num_classes:
        raise DataError(f"folds: found {folds} for {images.num_classes} classes, expected at most one for each")
    part_of = class_parts(images, least=folds)
    sizes = np.bincount(part_of, minlength=images.num_classes)
    order = list(dict.fromkeys(part_of[np.random.default_rng(seed).permutation(images.num_classes)].tolist()))
    fold_of = np.empty(images.num_classes, dtype=np.int64)  # of each part
    filled = [0] * folds
    for part in sorted(order, key=lambda part: -int(sizes[part])):
        fold_of[part] = fold = filled.index(min(filled))
        filled[fold] += int(sizes[part])
    fold_of_image = fold_of[part_of[images.labels]]
    return [
        (images.subset(np.flatnonzero(fold_of_image != fold)), images.subset(np.flatnonzero(fold_of_image == fold)))
        for fold in range(folds)
    ]


def hold_out_images(images: ImageSet, held_out: float = 0.5, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Split a set by images within classes into (the rest, held out): for closed sets, and queries against a gallery.

    >>> from circlet.data import FileReader
    >>> images = ImageSet.from_classes(
    ...     list("aaaabb"), list("123456"), FileReader("photos", ()), groups=[0, 0, 1, 1, 2, 2]
    ... )
    >>> [part.class_names for part in hold_out_images(images)]
    [('a', 'b'), ('a',)]

    Of each class about the share `held_out` of its images is held out, by whole groups drawn by lot; something of each
    class stays in the rest, so that a class of a single image or group is in the rest alone. Where that is so for all
    classes, it is a DataError. Images keep their order, and one seed always draws the same images.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out: found {held_out}, expected a share in (0, 1)")
    groups = np.arange(len(images)) if images.groups is None else np.unique(images.groups, return_inverse=True)[1]
    # Images of each (group, class), which counts against the share of the class.
    table: list[dict[int, int]] = [{} for _ in range(int(groups.max(initial=-1)) + 1)]
    for group, label in zip(groups.tolist(), images.labels.tolist(), strict=True):
        table[group][label] = table[group].get(label, 0) + 1
    num_images = np.bincount(images.labels, minlength=images.num_classes)
    wanted = held_out * num_images
    out = np.zeros(images.num_classes)
    chosen: list[int] = []
    for group in np.random.default_rng(seed).permutation(len(table)).tolist():
        counts = table[group]
        stays = all(out[label] + count < num_images[label] for label, count in counts.items())
        # At least as near to the share as without the group, over its classes together.
        gain = sum(abs(out[c] - wanted[c]) - abs(out[c] + n - wanted[c]) for c, n in counts.items())
        if stays and gain >= 0:
            chosen.append(group)
            for label, count in counts.items():
                out[label] += count
    if not chosen:
        raise DataError(
            f"groups: found {images.num_classes} classes of a single {'image' if images.groups is None else 'group'} "
            f"each, expected some with more, or a larger held_out than {held_out}: something of each class stays"
        )
    is_out = np.isin(groups, chosen)
    return images.subset(np.flatnonzero(~is_out)), images.subset(np.flatnonzero(is_out))
