"""The index in use, and the folder of enrolled pictures beside it. One thread at a time.

An enrolment is on the disk before it is answered: first the small picture, then the item. A service that is killed in
between leaves a picture that no item names, and enrolling again takes its place. Taking back goes the other way round
only in this: the picture goes first, so that none stays of what was taken back.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from circlet.data.lookalikes import lookalikes
from circlet.data.open_image import FORMATS
from circlet.data.pixels import Decoding
from circlet.evaluate.thresholds import Thresholds
from circlet.files import write_atomically
from circlet.index.names import enrolled_folder, path_of
from circlet.index.searching import nearest
from circlet.serve import answers
from circlet.serve.limits import Limits
from circlet.serve.names import enrolled_name, id_of, is_enrolled
from circlet.serve.refusal import Refusal
from circlet.serve.verdicts import threshold_texts
from circlet.vectors import Floats, Item

if TYPE_CHECKING:
    from circlet.index import Index

GONE = "id: found no such item, expected one that a search or a list has named"


class Asked(NamedTuple):
    """A search: a unit row (dim,), and how many neighbours."""

    row: Floats
    k: int


class Hit(NamedTuple):
    """An item that was found."""

    item: Item
    similarity: float

    @property
    def id(self) -> str:
        """What addresses call it."""
        return id_of(self.item.name)

    @property
    def enrolled(self) -> bool:
        """Whether it came through the service."""
        return is_enrolled(self.item.name)


class Gallery:
    """An open index, with its items by id. What each method does is done, or is not, when it raises."""

    def __init__(
        self, index: "Index", *, pictures: Path | None, root: Path | None, read_only: bool, max_enrolled: int
    ) -> None:
        if index.model.of_vectors:
            raise ValueError(f"{index.location}: found an index of vectors, expected one of images, which are what the "
                             "page and its API take")  # fmt: skip
        self.index, self.read_only, self.max_enrolled = index, read_only, max_enrolled
        self.pictures = pictures_of(index.location, pictures, read_only)
        self.root = root
        self.decoding: Decoding = index.model.decoding
        self.thresholds: Thresholds | None = index.thresholds
        self._name = Path(index.location).name or index.location
        self._items = {id_of(item.name): item for item in index.items()}
        self._classes: dict[str, dict[str, None]] = {}
        for id, item in self._items.items():
            if item.label:
                self._classes.setdefault(item.label, {})[id] = None
        self._enrolled = dict.fromkeys(id for id, item in self._items.items() if is_enrolled(item.name))

    def __contains__(self, id: str) -> bool:
        """Whether there is an item of that id."""
        return id in self._items

    def embed(self, images: Sequence[Tensor]) -> Sequence[Floats]:
        """A unit row (dim,) for each decoded image; of the network's thread."""
        rows: Floats = self.index.model.embed_decoded(torch.stack(list(images))).numpy()
        return list(rows)

    def search(self, asked: Sequence[Asked]) -> list[list[Hit]]:
        """Up to k items for each, most similar first."""
        if not self._items:
            return [[] for _ in asked]
        rows, most = np.stack([each.row for each in asked]), max(each.k for each in asked)
        found = nearest(self.index.store, rows, most)
        return [[Hit(*pair) for pair in pairs[: each.k]] for each, pairs in zip(asked, found, strict=True)]

    def require_writable(self) -> None:
        """Refusal (403) where nothing may be changed."""
        if self.read_only:
            raise Refusal(403, "service: found a change, expected none: it was started with --read-only")

    def enrol(self, content: str, label: str, row: Floats, picture: bytes) -> answers.Enrolled:
        """Put an item in, durably, unless it is there.

        Refusal: 409 for a new class that looks like one that is there, 507 where there is no room for more.
        """
        name = enrolled_name(content, label)
        id = id_of(name)
        if id in self._items:
            return answers.Enrolled(id, label, created=False)
        if len(self._enrolled) >= self.max_enrolled:
            raise Refusal(507, f"items: found {len(self._enrolled)} enrolled, expected at most {self.max_enrolled}")
        if label not in self._classes and (alike := lookalikes([*self._classes, label])) and label in alike:
            other = ascii(alike[0] if alike[1] == label else alike[1])
            raise Refusal(409, f"label: found {label!a}, which looks like the class {other} and is not it")
        item = Item(name, label, content)
        with _room_on_disk():
            path = self._picture(id)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: file.write(picture))
            self.index.store.put([item], row[None])
        self._items[id] = item
        self._classes.setdefault(label, {})[id] = None
        self._enrolled[id] = None
        return answers.Enrolled(id, label, created=True)

    def take_back(self, id: str) -> answers.TakenBack:
        """Take an enrolled item out. Refusal: 404 where there is none, 403 for one that was indexed."""
        item = self._items.get(id)
        if item is None:
            raise Refusal(404, GONE)
        if id not in self._enrolled:
            raise Refusal(403, "id: found an item of the indexed folder, expected an enrolled one: the folder decides")
        with _room_on_disk():
            self._picture(id).unlink(missing_ok=True)
            self.index.store.remove([item.name])
        del self._items[id], self._enrolled[id]
        del self._classes[item.label][id]
        if not self._classes[item.label]:
            del self._classes[item.label]
        return answers.TakenBack(id, item.label)

    def file_of(self, id: str) -> Path:
        """The picture of an item. Refusal (404) where there is none."""
        item = self._items.get(id)
        if item is None:
            raise Refusal(404, GONE)
        if id in self._enrolled:
            path: Path | None = None if self.pictures is None else self._picture(id)
        else:
            path = path_of(item.name, [str(self.root)]) if self.root is not None else self.index.path_of(item.name)
        if path is None or not path.is_file():
            raise Refusal(404, "picture: found none where the index says it lies, expected one; has it moved (--root)?")
        return path

    def listed(self, label: str | None, limit: int) -> answers.Items:
        """The enrolled items, latest first; or those of a class, in order of addition."""
        ids = self._enrolled if label is None else self._classes.get(label, {})
        chosen = islice(reversed(ids) if label is None else ids, limit)
        shown = [answers.Item(id, self._items[id].name, self._items[id].label, id in self._enrolled) for id in chosen]
        return answers.Items(tuple(shown), len(ids))

    def classes(self, text: str, limit: int) -> answers.Classes:
        """Classes with that in their name, in the order of names, whatever its case."""
        wanted = text.casefold()
        labels = sorted((label for label in self._classes if wanted in label.casefold()), key=str.casefold)
        made = []
        for label in labels[:limit]:
            ids = self._classes[label]
            made.append(answers.Class(label, len(ids), sum(id in self._enrolled for id in ids), next(iter(ids))))
        return answers.Classes(tuple(made), len(labels))

    def about(self, limits: Limits) -> answers.About:
        """What is served."""
        return answers.About(
            name=self._name, model=self.index.mark.name, items=len(self._items), classes=len(self._classes),
            enrolled=len(self._enrolled), read_only=self.read_only,
            thresholds=threshold_texts(self.thresholds, len(self._classes)), formats=FORMATS,
            max_mib=limits.max_mib, max_megapixels=limits.max_megapixels,
        )  # fmt: skip

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self._classes)

    def _picture(self, id: str) -> Path:
        assert self.pictures is not None, "only a service that writes nothing may have no folder"
        return self.pictures / id[:2] / f"{id}.jpg"


def pictures_of(location: str, given: Path | None, read_only: bool) -> Path | None:
    """The folder of enrolled pictures: the one that is given, or beside an index that is a folder or a file.

    ValueError where there is no such place.
    """
    if given is not None:
        return given
    beside = enrolled_folder(location)
    if beside is not None or read_only:
        return beside
    raise ValueError("pictures: found none for an index that is no folder, expected a folder to keep the pictures in "
                     "that are enrolled")  # fmt: skip


@contextmanager
def _room_on_disk() -> Iterator[None]:
    """A full disk is the service's state, not its error: Refusal (507)."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or getattr(error.__cause__, "errno", None) == errno.ENOSPC:
            raise Refusal(507, "disk: found it full, expected room for the picture; nothing was changed") from error
        raise
