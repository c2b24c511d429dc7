"""What an installation brings: the requirements of pyproject.toml, and all that these require, as installed here.

Markers are those of this machine and this Python: what only another system needs is not among it.
"""

import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DEVELOPMENT = ("docs", "neighbours", "notebooks", "test")
"""Extras of those who work on the project, not of those who use circlet."""


class Brought(NamedTuple):
    """there: the distributions by their names. missing: names of those that are not installed here."""

    there: dict[str, Distribution]
    missing: frozenset[str]


def project(root: Path = ROOT) -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def extras(table: dict[str, Any], *, development: bool = False) -> list[str]:
    """The extras that users install, or with `development` the others; `all`, which only names extras, is none."""
    return [name for name in table["optional-dependencies"] if name != "all" and (name in DEVELOPMENT) is development]


def direct(table: dict[str, Any], extra: str | None = None) -> list[Requirement]:
    """The requirements of the core (None) or of an extra, those of other extras that it names resolved.

    >>> table = {"name": "own", "optional-dependencies": {"a": ["one>=1"], "b": ["own[a]", "two"]}}
    >>> [each.name for each in direct(table, "b")]
    ['one', 'two']
    """
    found = []
    for text in table["dependencies"] if extra is None else table["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) == canonicalize_name(table["name"]):
            for other in sorted(requirement.extras):
                found += direct(table, other)
        else:
            found.append(requirement)
    return found


def brought(requirements: Iterable[Requirement]) -> Brought:
    """All that these requirements bring, themselves too."""
    there: dict[str, Distribution] = {}
    missing: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(requirement, "") for requirement in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                there[name] = found = distribution(name)
            except PackageNotFoundError:
                missing.add(name)
                continue
            todo += [(Requirement(text), wanted) for text in found.requires or ()]
    return Brought(there, frozenset(missing))
