"""What of a folder is new, changed or gone, and how a store follows it: in parts, each durable as it comes.

A file is known by its name and the digest of its content. One that was moved, or copied, takes the vector that its
content has already.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from circlet.data import DataError, ImageSet
from circlet.data.images import NO_CLASS
from circlet.data.notes import cut, shown
from circlet.index.names import enrolled_folder, is_of_folder, of_folder
from circlet.inference import Model
from circlet.inference.model import OnError
from circlet.progress import progress
from circlet.terminal import say
from circlet.vectors import Item, Store

_AT_ONCE = 4096


class Updated(NamedTuple):
    """What an update found, in images. new and changed ones are in the index now; gone ones are not.

    unchanged: their content and class are as they were. embedded: how many of the new and changed ones the network had
    to look at. skipped: (name, reason) of each that cannot be read; it is not in the index.
    """

    new: int = 0
    changed: int = 0
    gone: int = 0
    unchanged: int = 0
    embedded: int = 0
    skipped: tuple[tuple[str, str], ...] = ()


class Plan(NamedTuple):
    """What is to be done. embed: (index, item) to look at. known: (item, name of one with its content)."""

    embed: list[tuple[int, Item]]
    known: list[tuple[Item, str]]
    gone: list[str]
    unchanged: int
    skipped: list[tuple[str, str]]
    new: set[str]

    @property
    def changes(self) -> bool:
        """Whether anything in the store will be another."""
        return bool(self.embed or self.known or self.gone)


def label_of(name: str) -> str:
    """A class as an index has it, of its name in an `ImageSet`: none is ""."""
    return "" if name == NO_CLASS else name


def make_plan(there: list[Item], images: ImageSet, contents: list[str | DataError]) -> Plan:
    """Compare what is there with the images of the folder and their contents."""
    before = {item.name: item for item in there}
    now = [of_folder(name) for name in images.names]
    labels = [label_of(images.class_names[label]) for label in images.labels]
    plan = Plan([], [], [name for name in before.keys() - set(now) if is_of_folder(name)], 0, [], set())
    to_put: list[tuple[int, Item]] = []
    unchanged, listed = 0, dict[str, str]()
    for index, (name, label, content) in enumerate(zip(now, labels, contents, strict=True)):
        if name in listed:  # in a manifest
            if listed[name] != label:
                raise DataError(f"{cut(name)}: found it under two labels, {shown(listed[name])} and {shown(label)}, "
                                "expected one")  # fmt: skip
            continue
        listed[name] = label
        if isinstance(content, DataError):
            plan.skipped.append((name, str(content)))
            continue
        item = Item(name, label, content)
        if before.get(name) == item:
            unchanged += 1
            continue
        to_put.append((index, item))
        if name not in before:
            plan.new.add(name)
    written = {item.name for _, item in to_put}
    source = {item.content: item.name for item in there if item.content and item.name not in written}
    for index, item in to_put:
        old = before.get(item.name)
        if old is not None and old.content == item.content:  # of another class now
            plan.known.append((item, item.name))
        elif item.content in source:
            plan.known.append((item, source[item.content]))
        else:
            plan.embed.append((index, item))
    plan.gone.extend(name for name, _ in plan.skipped if name in before)
    return plan._replace(gone=sorted(plan.gone), unchanged=unchanged)


def without_enrolled(images: ImageSet, root: str, location: str) -> ImageSet:
    """The images of a folder but for those that `circlet serve` has put there, beside an index in that very folder."""
    folder = enrolled_folder(location)
    if folder is None or not (real := folder.resolve()).is_relative_to(root):
        return images
    own = f"{real.relative_to(root).as_posix()}/"
    kept = [index for index, name in enumerate(images.names) if not name.startswith(own)]
    return images if len(kept) == len(images) else images.subset(np.array(kept, np.int64))


def follow(store: Store, model: Model, images: ImageSet, plan: Plan, *, on_error: OnError) -> Updated:
    """Do what is planned; images that cannot be read are named on standard error, or, with "raise", a DataError."""
    skipped = list(plan.skipped)
    for _, reason in skipped:
        _skip(reason, on_error)
    for begin in range(0, len(plan.known), _AT_ONCE):
        some = plan.known[begin : begin + _AT_ONCE]
        store.put([item for item, _ in some], store.vectors([name for _, name in some]))
    chosen = images.subset(np.array([index for index, _ in plan.embed], np.int64))
    names, failed = put_embedded(store, model, chosen, lambda place: plan.embed[place][1], on_error=on_error)
    skipped += [(plan.embed[place][1].name, reason) for place, reason in failed]
    broken = {plan.embed[place][1].name for place, _ in failed}
    changed = {item.name for _, item in plan.embed} | {item.name for item, _ in plan.known}
    gone = [*plan.gone, *(broken - plan.new)]  # what is there of a changed file that cannot be read is of another
    removed = store.remove(gone) if gone else 0
    unreadable = {name for name, _ in skipped}
    return Updated(
        new=len(plan.new - broken),
        changed=len(changed - plan.new - broken),
        gone=removed - len(unreadable & set(gone)),
        unchanged=plan.unchanged,
        embedded=len(names),
        skipped=tuple(skipped),
    )


def put_embedded(
    store: Store, model: Model, images: ImageSet, item: Callable[[int], Item], *, on_error: OnError
) -> tuple[list[str], list[tuple[int, str]]]:
    """Embed images and put them as `item` says of each by its place; the names, and (place, reason) of the others."""
    names: list[str] = []
    broken: list[tuple[int, str]] = []
    with progress("index", len(images), unit="image") as shown:
        for part in model.embed_parts(images):
            for _, reason in part.broken:
                _skip(reason, on_error)
            broken += part.broken
            items = [item(place) for place in part.indices]
            if items:
                store.put(items, as_rows(part.rows))
            names += [each.name for each in items]
            shown.advance(len(items) + len(part.broken))
    return names, broken


def as_rows(rows: torch.Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """A matrix as stores take it."""
    found: np.ndarray[tuple[int, int], np.dtype[np.float32]] = np.ascontiguousarray(rows.numpy(), np.float32)
    return found


def _skip(reason: str, on_error: OnError) -> None:
    if on_error == "raise":
        raise DataError(reason)
    say(f"skipped: {reason}")
