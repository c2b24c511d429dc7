"""Extensions: what other packages add to circlet, by name.

Three ways lead to a loss, a data set, a backbone, a recipe: a name of ours; the name of an entry point that an
installed package has registered in the group; `package.module:name`. The last imports a module, so it is for people
at the command line and in Python; a name that comes out of a file passes `experiments.folders.experiment_of` first.
"""

import difflib
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Extensions(Generic[T]):
    """One kind of thing that can be extended.

    group: of the entry points. kind: what one is called, for messages. own: ours by name. check: gives an extension's
    object as what is wanted, or raises a ValueError that begins with the name that it is given.
    """

    def __init__(
        self, group: str, kind: str, own: Callable[[], Mapping[str, T]], check: Callable[[str, Any], T]
    ) -> None:
        self.group, self.kind, self._own, self._check = group, kind, own, check

    def names(self) -> list[str]:
        """Ours, then those that installed packages have registered."""
        own = self._own()
        return [*own, *(name for name in sorted(self._registered()) if name not in own)]

    def registered(self) -> dict[str, str]:
        """Names that installed packages have registered, each with `package.module:name` behind it."""
        return {name: point.value for name, point in sorted(self._registered().items())}

    def find(self, name: str) -> T:
        """What `name` stands for. ValueError if there is no such thing, or it is not what it should be."""
        own = self._own()
        if name in own:
            if name in self._registered():
                point = self._registered()[name]
                raise ValueError(f"{self.kind} {name!r}: found in circlet and in {_package(point)} ({point.value}), "
                                 f"expected one; give {point.value} for the latter")  # fmt: skip
            return own[name]
        if ":" in name:
            return self._check(f"{self.kind} {name!r}", _imported(self.kind, name))
        point_of = self._registered()
        if name in point_of:
            return self._check(
                f"{self.kind} {name!r} of {_package(point_of[name])}", _loaded(self.kind, point_of[name])
            )
        near = difflib.get_close_matches(name, self.names(), n=4, cutoff=0.3) or self.names()
        known = f"one of {', '.join(near)}, or " if near else ""
        raise ValueError(f"{self.kind}: found {name!r}, expected {known}package.module:name")

    def _registered(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in _entry_points(self.group):
            before = found.setdefault(point.name, point)
            if before.value != point.value:
                raise ValueError(f"{self.kind} {point.name!r}: registered by {_package(before)} ({before.value}) and "
                                 f"by {_package(point)} ({point.value}), expected one; uninstall one of the "
                                 "two")  # fmt: skip
        return found


def import_path(thing: Any) -> str:
    """`package.module:name` of a class or function that a module defines; ValueError if none does."""
    name, module = getattr(thing, "__qualname__", ""), getattr(thing, "__module__", "")
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    if not name or value is not thing:
        raise ValueError(f"{thing!r}: found no module that defines it by name, expected a class or function of a "
                         "module, so that a run can find it again")  # fmt: skip
    return f"{module}:{name}"


def _imported(kind: str, name: str) -> Any:
    module, _, rest = name.partition(":")
    if "" not in sys.path:  # as under `python -m`: what lies in the present folder can be named
        sys.path.append("")
    try:
        found: Any = import_module(module)
    except Exception as error:
        raise ValueError(
            f"{kind} {name!r}: module {module} could not be imported ({type(error).__name__}: {error})"
        ) from error
    for part in rest.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{kind} {name!r}: found no {part} in {module}, expected it to be defined there")
        found = getattr(found, part)
    return found


def _loaded(kind: str, point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise ValueError(f"{kind} {point.name!r} of {_package(point)}: {point.value} could not be imported "
                         f"({type(error).__name__}: {error})") from error  # fmt: skip


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an installed package"
