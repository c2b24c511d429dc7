"""From one store into another: to save an index, and to merge two of one model."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from circlet.index.names import folder_of, is_of_folder, of_added
from circlet.index.settings import Settings, require_same
from circlet.vectors import Item, Store, open_store
from circlet.vectors.merging import merge


def save(source: Store, location: str | Path) -> None:
    """Copy a store with its settings to a new place; ValueError where there is one already."""
    target = open_store(location, source.dim, create=True)
    try:
        if len(target) or target.meta():
            raise ValueError(f"{target.location}: found an index, expected a new place")
        target.set_meta(source.meta())
        merge(target, source)
    finally:
        target.close()


def to_merge(store: Store, settings: Settings, other: Store, of_other: Settings) -> tuple[list[str], list[Item]]:
    """The names in another index, and the items as this one is to have them, in their order.

    ValueError where the models differ, and for a name that both have for images of different content.
    """
    require_same(other.location, of_other.model, settings.model)
    items = other.items()
    new = renamed(items, of_other.root, settings.root)
    require_no_clash(store.items(), new, store.location, other.location)
    return [item.name for item in items], new


def renamed(items: Sequence[Item], root: str | None, into: str | None) -> list[Item]:
    """Images of an index that follows `root` as one of `into` has them: with whole paths, if that is another."""
    if root == into:
        return list(items)

    def name(own: str) -> str:
        if not is_of_folder(own):
            return own
        return of_added(own) if root is None else str(PurePosixPath(folder_of(root), own.removeprefix("./")))

    return [item._replace(name=name(item.name)) for item in items]


def require_no_clash(there: Sequence[Item], new: Sequence[Item], location: str, other: str) -> None:
    """ValueError for a name that both have for images of different content."""
    content = {item.name: item.content for item in there}
    for item in new:
        if content.get(item.name, item.content) != item.content:
            raise ValueError(f"{other}: found {item.name!r} with another content than in {location}, expected other "
                             "names, or the same image")  # fmt: skip
