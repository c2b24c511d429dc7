"""Images that somebody adds to an index by hand: what they are called, and into the store in parts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from circlet.data import ImageSet, content_digest
from circlet.data.readers import file_of
from circlet.index.names import ADDED, of_added, of_folder
from circlet.index.updating import put_embedded
from circlet.inference import Model
from circlet.inference.model import OnError
from circlet.terminal import storable
from circlet.vectors import Item, Store


class Added(NamedTuple):
    """What was added: the names in the index, in order, and (what it was, reason) of each that cannot be read."""

    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def add(store: Store, model: Model, images: ImageSet, item: Callable[[int], Item], *, on_error: OnError) -> Added:
    """Embed images and put them into the store, as `item` says of each by its place."""
    names, broken = put_embedded(store, model, images, item, on_error=on_error)
    return Added(tuple(names), tuple((images.names[place], reason) for place, reason in broken))


def items_of(
    images: ImageSet, labels: str | Sequence[str] | None, names: Sequence[str] | None, root: str | None
) -> Callable[[int], Item]:
    """The item of each image by its place. labels: of all, or of each; None: none has one.

    names: None: by their path, or else by their content. root: the folder that the index follows: a file below it is
    called as `update` calls it.
    """
    classes = [labels] * len(images) if isinstance(labels, str) else list(labels or [""] * len(images))
    for argument, given in (("labels", classes), ("names", classes if names is None else names)):
        if len(given) != len(images) or isinstance(given, str):
            raise ValueError(f"{argument}: found {len(given)}, expected one for each of {len(images)} images")

    def item(place: int) -> Item:
        content = content_digest(images, place).hex()
        name = _called(images, place, content, root) if names is None else of_added(storable(names[place]))
        return Item(name, storable(classes[place]), content)

    return item


def _called(images: ImageSet, place: int, content: str, root: str | None) -> str:
    path = file_of(images.read, place)
    if path is None:
        return f"{ADDED}{content}"
    whole = Path(path).resolve()
    if root is not None and whole.is_relative_to(root):
        return of_folder(storable(whole.relative_to(root).as_posix()))
    return storable(f"/{whole.as_posix().lstrip('/')}")
