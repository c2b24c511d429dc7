"""Values out of JSON as annotated types: what a file must hold is said once, as types, and checked as it is read.

Kinds are None, bool, int, float, str, Path, Any, Literal, unions, lists, tuples (of a fixed length, or with ...),
dicts, TypedDicts (which may hold more keys than they name), NamedTuples and dataclasses (which may not), and any other
class, of which the value must be an instance. Nothing of a file decides which kinds there are.
"""

import json
import reprlib
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", list: "a list",
         tuple: "a list", dict: "an object", type(None): "null"}  # fmt: skip

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def typed(kind: Any, value: Any, name: str) -> Any:
    """`value`, out of JSON, as the annotated type `kind`.

    >>> typed(tuple[float, float], [1, 2.5], "size")
    (1.0, 2.5)
    >>> typed(dict[str, tuple[int, int] | None], {"size": [48, 48, 48]}, "config")
    Traceback (most recent call last):
    ValueError: config.size: found [48, 48, 48], expected a list of 2

    name: where the value is, for the error; "" at the top of a file. Keys that a record has a default for may be
    missing. A part of a record with a `from_json(value, name)` of its own reads itself.

    Raises ValueError for a value of another type, a key that is missing and one that a record does not have.
    """
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(get_args(kind), value, name)
    if origin is Literal:
        if not any(type(value) is type(option) and value == option for option in get_args(kind)):
            raise wrong(name, value, f"one of {get_args(kind)}")
        return value
    if origin is tuple or origin is list:
        return _items(origin, get_args(kind), value, name)
    if origin is dict:
        of = get_args(kind)[1]
        return {key: typed(of, item, at(name, key)) for key, item in _object(value, name).items()}
    if is_typeddict(kind):
        _require(kind.__required_keys__, value, name)
        hints = get_type_hints(kind)
        return {key: typed(hints.get(key, Any), item, at(name, key)) for key, item in value.items()}
    if is_dataclass(kind) or hasattr(kind, "_field_defaults"):
        return _record(kind, value, name)
    return _plain(kind, value, name)


def at(name: str, key: str) -> str:
    """Where a key of the object at `name` is."""
    return f"{name}.{key}" if name else key


def wrong(name: str, value: Any, expected: str) -> ValueError:
    """The error that says where something was found, what, and what was expected."""
    return ValueError(f"{name}: found {shown(value)}, expected {expected}" if name else
                      f"found {shown(value)}, expected {expected}")  # fmt: skip


@contextmanager
def naming(place: object) -> Iterator[None]:
    """A ValueError of what is done within it begins with `place`: the file, or the file and its line."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def shown(value: Any) -> str:
    """A value as an error shows it: short, on one line, and null, true and false as JSON has them."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    plain = isinstance(value, int | float | str | bytes | list | tuple | dict)
    return " ".join(_SHORT.repr(value).split()) if plain else f"a {type(value).__name__}"


def _plain(kind: Any, value: Any, name: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    if kind is Path or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise wrong(name, value, WORDS.get(kind, f"a {kind.__name__}"))
    return value


def _one_of(options: Sequence[Any], value: Any, name: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = [option for option in options if option is not type(None)]
    for option in options[:-1]:
        with suppress(ValueError):
            return typed(option, value, name)
    return typed(options[-1], value, name)


def _items(kind: type, of: Sequence[Any], value: Any, name: str) -> Any:
    if not isinstance(value, list):
        raise wrong(name, value, "a list")
    if kind is list and of[0] is float and set(map(type, value)) == {float}:  # thousands of numbers, as a rule
        return value
    if kind is list or (len(of) == 2 and of[1] is ...):
        of = [of[0]] * len(value)
    if len(of) != len(value):
        raise wrong(name, value, f"a list of {len(of)}")
    return kind(typed(each, item, f"{name}[{i}]") for i, (each, item) in enumerate(zip(of, value, strict=True)))


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(name, value, "an object")
    if other := [key for key in value if not isinstance(key, str)]:  # JSON has none, a checkpoint may
        raise wrong(name, other[0], "names alone as its keys")
    return value


def _require(keys: Any, value: Any, name: str) -> None:
    if missing := sorted(set(keys) - _object(value, name).keys()):
        raise ValueError(f"{at(name, missing[0])}: found no such key, expected one")


def _record(kind: Any, value: Any, name: str) -> Any:
    if is_dataclass(kind):
        known = {f.name for f in fields(kind)}
        optional = {f.name for f in fields(kind) if f.default is not MISSING or f.default_factory is not MISSING}
    else:
        known, optional = set(kind._fields), set(kind._field_defaults)
    _require(known - optional, value, name)
    if unknown := sorted(value.keys() - known):
        raise ValueError(f"{name}: found unknown settings {unknown}, expected those of this version")
    hints = get_type_hints(kind)
    return kind(**{key: _part(hints[key], item, at(name, key)) for key, item in value.items()})


def _part(kind: Any, value: Any, name: str) -> Any:
    reads_itself = is_dataclass(kind) and hasattr(kind, "from_json")
    return kind.from_json(value, name) if reads_itself else typed(kind, value, name)
