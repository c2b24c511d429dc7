"""What a data set is to this library: a name, a function that opens it, and what is known of it. Yours too.

A data set of your own is a function in any module, `(root, **options) -> Splits`; everything that a name of
`circlet.data.DATA_SETS` can do, it can do too. With a `DataSet` around it, more is known of it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from circlet.data.evaluation_sets import FacePairs, Identification, Templates, VideoPairs
from circlet.data.images import DataError, Splits

Loaded = Splits | FacePairs | VideoPairs | Templates | Identification
Task = Literal[
    "characters",
    "retrieval",
    "re-identification",
    "face training",
    "face verification",
    "template verification",
    "face identification",
]
INSIGHTFACE = "https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_"


@dataclass(frozen=True)
class DataSet:
    """A data set: what it is called, how it is opened, and what `circlet datasets` shows and checks of it.

    >>> from circlet.data import FileReader, ImageSet, open_data_set
    >>> def photos(root, *, seed=0):
    ...     sets = [ImageSet.from_classes(c, c, FileReader(str(root), ())) for c in (["ant", "bee"], ["cat", "dog"])]
    ...     return Splits(*sets)
    >>> mine = DataSet("photos", photos, title="insects and pets")
    >>> open_data_set(mine, "photos").query.class_names
    ('cat', 'dog')

    load: `load(root, **options)`; root is where the set lies, a Path, a string, or None where nothing was said, which
        only sets that do not need a path are given. It gives `Splits`, or for sets that are only tested on one of
        `circlet.data.evaluation_sets`.
    options: given to `load` each time. An option that `load` names as a parameter can be set by whoever opens the set:
        circlet train gives `seed` and `held_out` (--data.seed, --data.test-share) to those that have them.
    counts: the published ones, by the names of `circlet.data.check.count`. A set that has any is tested as published,
        with the copies that are in it; those of others are settled (`circlet.data.copies`).
    places: from the root to what messages call an image, by its name, such as the line that lists it.
    streamed: what is trained on is not listed (`circlet.data.streams`); copies are not looked for.
    """

    name: str
    load: Callable[..., Loaded]
    title: str = ""
    task: Task = "retrieval"
    needs_path: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    layout: str = ""
    places: Callable[[Path], Callable[[str], str]] | None = None
    streamed: bool = False

    def open(self, root: str | Path | None = None, /, **options: Any) -> Loaded:
        """Read the set at `root`; `options` go to `load`, over those of this entry.

        ValueError without a path where one is needed, and for what is no data set.
        """
        if root is None and self.needs_path:
            raise ValueError(f"path: found none, expected that of {self.title or self.name} (circlet datasets show: "
                             "its layout)")  # fmt: skip
        loaded: object = self.load(root, **{**self.options, **options})
        if not isinstance(loaded, Loaded):
            raise ValueError(f"data set {self.name!r}: found {_described(loaded)}, expected circlet.data.Splits "
                             "(train, query and perhaps gallery), or a set that is only tested on")  # fmt: skip
        return loaded

    def open_splits(self, root: str | Path | None = None, /, **options: Any) -> Splits:
        """`open` for a set that has a part to train on; a ValueError for another."""
        loaded = self.open(root, **options)
        if not isinstance(loaded, Splits):
            raise ValueError(f"data set: found {self.name!r}, which has no part to train on, expected one that has")
        return loaded

    def place(self, root: str | Path | None) -> Callable[[str], str]:
        """What messages call the images of the set at `root`, by their names."""
        return str if self.places is None or root is None else self.places(Path(root))

    def accepts(self, option: str) -> bool:
        """Whether `load` names this option as a parameter."""
        return option in inspect.signature(self.load).parameters


def as_data_set(label: str, given: Any) -> DataSet:
    """A data set from outside this library, whose errors begin with `label`, such as "data set 'package.module:name'".

    given: a `DataSet`, or a function `(root, **options) -> Splits`, which may do without a path. ValueError for
    anything else.
    """
    if isinstance(given, DataSet):
        entry = given
    elif callable(given):
        title = (inspect.getdoc(given) or called(given)).split("\n")[0]
        entry = DataSet(called(given), given, title=title, needs_path=False)
    else:
        raise ValueError(f"{label}: found {_described(given)}, expected a DataSet, or a function "
                         "(root, **options) -> Splits")  # fmt: skip

    @_signed_as(entry.load)
    def load(root: str | Path | None, **options: Any) -> Loaded:
        try:
            return entry.load(root, **options)
        except DataError as error:
            raise DataError(f"{label}: {error}") from error

    return replace(entry, load=load)


def called(given: object) -> str:
    """What to call a data set, or the function that opens one: `module:name`."""
    if isinstance(given, DataSet):
        return given.name
    where = given if hasattr(given, "__qualname__") else type(given)
    return f"{where.__module__}:{where.__qualname__}"


def role_counts(
    train: tuple[int, int], query: tuple[int, int], gallery: tuple[int, int] | None = None
) -> dict[str, int]:
    """Published numbers of (images, classes) in each role, by the names of `circlet.data.check.count`."""
    roles = {"train": train, "query": query, **({"gallery": gallery} if gallery else {})}
    return {
        f"{role} {what}": n for role, pair in roles.items() for what, n in zip(("images", "classes"), pair, strict=True)
    }


def _signed_as(other: Callable[..., Loaded]) -> Callable[[Callable[..., Loaded]], Callable[..., Loaded]]:
    """Let a function show another's parameters, which say what options it accepts."""

    def decorate(function: Callable[..., Loaded]) -> Callable[..., Loaded]:
        function.__signature__ = inspect.signature(other)  # type: ignore[attr-defined]
        return function

    return decorate


def _described(value: object) -> str:
    """Its type, and for a tuple or dict what is in it."""
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(type(item).__name__ for item in value[:3]) or 'nothing'}"
    if isinstance(value, dict):
        return f"a dict with {', '.join(map(repr, list(value)[:5])) or 'nothing'}"
    return type(value).__name__
