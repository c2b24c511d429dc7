"""Which folders, or values of a column, are the parts of a split: train, validation, test, query and gallery.

They go by their usual names in any case. Whatever could be a split and could be classes as well is refused: taken for a
class, a split folder makes every class stand twice, its own negative. No image is looked at here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from circlet.data.images import DataError
from circlet.data.notes import say_once

_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
    "query": ("query", "probe"),
    "gallery": ("gallery",),
}
_ROLE_OF = {name: role for role, names in _NAMES.items() for name in names}
_INSTEAD = "rename folders, move them elsewhere, or list the images in a table with a column split (manifest)"


class ToTest(NamedTuple):
    """The names of the parts that are tested on, and of those that neither train nor test.

    gallery None: every query searches the other queries.
    """

    query: str
    gallery: str | None
    left: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The query, and the gallery if there is one."""
        return (self.query,) if self.gallery is None else (self.query, self.gallery)

    def tell(self, where: str, parts: Iterable[str]) -> None:
        """Say on standard error which of the parts are tested on and which, train among them, are left alone."""
        others = sorted(set(parts) - set(self.names))
        left = f"; {', '.join(others)} {'is' if len(others) == 1 else 'are'} left alone" if others else ""
        say_once(f"{where}: tests on {' against '.join(self.names)}{left}")

    def tell_training(self, where: str, parts: Mapping[str, str]) -> None:
        """Say on standard error, of a training, that validation is the test, and which of the parts are left alone."""
        if self.query == parts.get("validation"):
            say_once(f"{where}: found no test beside {parts['train']}, so {self.query} is the test set")
        if self.left:
            say_once(f"{where}: trains on {parts['train']} and tests on {self.query}; {', '.join(self.left)} is left "
                     "alone (classes to validate on are held out of those to train on)")  # fmt: skip


def role_of(name: str) -> str | None:
    """The role that a name stands for, or None.

    >>> role_of("Valid"), role_of("probe"), role_of("owl")
    ('validation', 'query', None)
    """
    return _ROLE_OF.get(name.strip().casefold())


def find_split(
    where: str, names: Sequence[str], holds_folders: Callable[[str], bool] = lambda name: True, *, kind: str = "folders"
) -> dict[str, str]:
    """The names that are parts of a split, by role; empty where none is, so that all of them are classes.

    >>> find_split("photos", ["Training", "valid"])
    {'train': 'Training', 'validation': 'valid'}

    holds_folders: a folder train among classes is a class itself (a train) where it holds none. A DataError, which
    begins with `where`, for two of one role, for others beside them, and for names that only speak of a split.
    """
    parts = {name: role for name in names if (role := role_of(name)) is not None}
    others = [name for name in names if name not in parts]
    instead = f"; {_INSTEAD}" if kind == "folders" else ""
    if not parts:
        spoken = [_spoken(name) for name in names]
        if len(names) > 1 and all(spoken) and len(set().union(*spoken)) > 1:
            raise DataError(f"{where}: found the {kind} {_listed(names)}, whose names speak of a split, expected the "
                            "names train, validation, test, query or gallery, or classes")  # fmt: skip
        return {}
    if others and list(parts.values()) == ["train"] and not holds_folders(next(iter(parts))):
        return {}
    if others:
        raise DataError(f"{where}: found the {kind} {_listed(others)} beside those of the split ({_listed(parts)}), "
                        f"expected no other{instead}")  # fmt: skip
    by_role: dict[str, str] = {}
    for name, role in parts.items():
        if (other := by_role.setdefault(role, name)) != name:
            raise DataError(f"{where}: found two {kind} for {role}, {other} and {name}, expected one{instead}")
    return by_role


def choose_tested(where: str, parts: Mapping[str, str], layouts: str, *, kind: str = "folders") -> ToTest | None:
    """The parts of a split to test on: query (and gallery), else test, else validation; None where there is only train.

    A DataError for a gallery without a query, and where there is more than one part to test on.
    """
    query = next((role for role in ("query", "test", "validation") if role in parts), None)
    if ("gallery" in parts and query != "query") or {"query", "test"} <= parts.keys():
        raise DataError(f"{where}: found the split {kind} {_listed(parts.values())}, expected {layouts}")
    if query is None:
        return None
    left = tuple(name for role, name in parts.items() if role not in ("train", query, "gallery"))
    return ToTest(parts[query], parts.get("gallery"), left)


def refuse_splits_inside(where: str, classes: Iterable[str]) -> None:
    """Raise a DataError if split folders lie side by side within classes (paths): cat/train and cat/test, say."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for name in classes:
        folders = name.split("/")
        for depth, folder in enumerate(folders):
            if (role := role_of(folder)) is None:
                continue
            roles = found.setdefault(tuple(folders[:depth]), {})
            roles[role] = folder
            if len(roles) > 1:
                parent = "/".join((where, *folders[:depth]))
                raise DataError(f"{parent}: found the split folders {_listed(roles.values())} inside, expected them at "
                                "the top of the folder that is opened, with the classes inside them "
                                "(root/train/class/image)")  # fmt: skip


def _spoken(name: str) -> set[str]:
    """The roles that a part of a name, such as train_images, speaks of."""
    return {role for word in re.split(r"[^a-z]+", name.casefold()) if (role := role_of(word)) is not None}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
