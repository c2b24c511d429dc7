"""All items of one store into another, of whatever kind the two are."""

from circlet.vectors.protocol import Store

_BATCH = 1 << 14


def merge(store: Store, other: Store) -> int:
    """Put all items of `other` into `store`, those of the same name in place of its own; how many.

    Can be repeated where it was interrupted. ValueError for vectors of another length.
    """
    if other.dim != store.dim:
        raise ValueError(f"other: found vectors of {other.dim} numbers, expected {store.dim}")
    items = other.items()
    for first in range(0, len(items), _BATCH):
        part = items[first : first + _BATCH]
        store.put(part, other.vectors([item.name for item in part]))
    return len(items)
