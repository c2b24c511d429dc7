"""What hangs together: classes that share a group, directly or through other classes; whatever pairs connect.

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
    if groups is None:
        return np.arange(num_classes, dtype=np.int64)
    pairs = np.unique(np.stack([groups, labels], axis=1), axis=0)
    same_group = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
    return connected(num_classes, np.stack([pairs[same_group, 1], pairs[same_group + 1, 1]], axis=1))


def connected(number: int, pairs: Ints) -> Ints:
    """The first of those that each of 0 to number - 1 is connected with, directly or through others, by union-find.

    >>> connected(5, np.array([[3, 1], [3, 4]])).tolist()
    [0, 1, 2, 1, 1]
    """
    root = list(range(number))

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for one, other in pairs.tolist():
        low, high = sorted((find(one), find(other)))
        root[high] = low
    return np.array([find(one) for one in range(number)], dtype=np.int64)


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
