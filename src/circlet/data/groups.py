"""Which classes hang together: those that share a group, directly or through other classes.

Here are numbers alone; splits that keep groups whole are in `circlet.data.images` and `circlet.data.folds`.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def joined_classes(labels: Ints, groups: Ints | None, num_classes: int) -> Ints:
    """The part of each class (num_classes,): the smallest label that it is joined to by shared groups.

    >>> joined_classes(np.array([0, 1, 2, 2, 3]), np.array([7, 8, 7, 9, 9]), 4).tolist()
    [0, 1, 0, 0]

    labels, groups: (N,) of each image. Without groups every class is a part of its own.
    """
    root = list(range(num_classes))
    if groups is None:
        return np.array(root, dtype=np.int64)

    def find(label: int) -> int:
        while root[label] != label:
            root[label] = root[root[label]]
            label = root[label]
        return label

    pairs = np.unique(np.stack([groups, labels], axis=1), axis=0)
    same_group = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
    for one, other in zip(pairs[same_group, 1].tolist(), pairs[same_group + 1, 1].tolist(), strict=True):
        low, high = sorted((find(one), find(other)))
        root[high] = low
    return np.array([find(label) for label in range(num_classes)], dtype=np.int64)


def two_classes_of_a_group(labels: Ints, groups: Ints) -> tuple[int, int]:
    """The first image whose group held another class before, and that earlier image: (earlier, later).

    ValueError where every group is of one class.
    """
    first: dict[int, int] = {}
    for index, group in enumerate(groups.tolist()):
        earlier = first.setdefault(group, index)
        if labels[earlier] != labels[index]:
            return earlier, index
    raise ValueError("groups: found each within one class, expected one of two")
