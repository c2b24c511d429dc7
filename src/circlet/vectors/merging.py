"""All items of one store into another, of whatever kind the two are."""

from collections.abc import Sequence

from circlet.vectors.protocol import Item, Store

_BATCH = 1 << 14


def merge(store: Store, other: Store) -> int:
    """Put all items of `other` into `store`, those of the same name in place of its own; how many.

    Can be repeated where it was interrupted. ValueError for vectors of another length.
    """
    if other.dim != store.dim:
        raise ValueError(f"other: found vectors of {other.dim} numbers, expected {store.dim}")
    items = other.items()
    copy(other, store, items, [item.name for item in items])
    return len(items)


def copy(source: Store, target: Store, items: Sequence[Item], names: Sequence[str]) -> None:
    """Put the vectors of `names` in one store into the other, as `items`."""
    for first in range(0, len(items), _BATCH):
        target.put(items[first : first + _BATCH], source.vectors(names[first : first + _BATCH]))
