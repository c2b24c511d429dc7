"""From JSON to frozen dataclasses: what config.json says, checked against the types of the settings."""

import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def from_json(kind: Any, value: Any, name: str) -> Any:
    """`value`, out of JSON, as the annotated type `kind`; settings that are not there keep their defaults.

    >>> from_json(tuple[float, ...], [1, 2.5], "config.mean")
    (1.0, 2.5)

    ValueError for an unknown setting, and for a value of another type; `name` says where it is.
    """
    if is_dataclass(kind) and hasattr(kind, "from_json") and "." in name:  # a part that reads itself
        return kind.from_json(value, name)
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{name}: found {value!r}, expected settings of {kind}")
        unknown = value.keys() - {f.name for f in fields(kind)}
        if unknown:
            raise ValueError(f"{name}: found unknown settings {sorted(unknown)}, expected those of this version")
        hints = get_type_hints(kind)
        return kind(**{key: from_json(hints[key], item, f"{name}.{key}") for key, item in value.items()})  # type: ignore[operator]
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        kind = next(option for option in get_args(kind) if option is not type(None))
        return from_json(kind, value, name)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{name}: found {value!r}, expected one of {get_args(kind)}")
        return value
    if get_origin(kind) is tuple:
        return tuple(from_json(get_args(kind)[0], item, name) for item in value)
    if kind is Path:
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise ValueError(f"{name}: found {value!r}, expected {kind.__name__}")
    return value
