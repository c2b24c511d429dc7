"""From JSON to frozen dataclasses: what config.json says, checked against the types of the settings."""

import math
from typing import Any

from circlet.typed import at, typed, wrong


def from_json(kind: Any, value: Any, name: str) -> Any:
    """`value`, out of JSON, as the annotated type `kind`; settings that are not there keep their defaults.

    >>> from_json(tuple[float, ...], [1, 2.5], "config.mean")
    (1.0, 2.5)

    ValueError for an unknown setting, for a value of another type or length (see `circlet.typed`), and for a number
    that is not finite, which no setting is; `name` says where it is.
    """
    _check_finite(value, name)
    return typed(kind, value, name)


def _check_finite(value: Any, name: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong(name, value, "a finite number")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_finite(item, at(name, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check_finite(item, f"{name}[{i}]")
