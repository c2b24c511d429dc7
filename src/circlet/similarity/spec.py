"""A rule as an operator of compiled code can carry it: where its class lives, and its numbers.

`torch.library` operators take strings and floats, not objects, and this package must not know the rules above it. So
a rule travels like a pickle, as an import path and the values of its fields, and is built again on the other side.
That serves every frozen dataclass of floats that a module defines and that writes its slopes down (inside an operator
there is no autograd to find them); any other rule has no spec, and goes densely when compiled.
"""

import dataclasses
import sys
from functools import cache
from typing import Any, NamedTuple, cast

from circlet.similarity.pairs import Rule


class RuleSpec(NamedTuple):
    """`path` is "module:Class"; `numbers` are the fields in order."""

    path: str
    numbers: list[float]


def spec_of(rule: Rule) -> RuleSpec | None:
    """Spec of a rule that is a module-level dataclass of floats with slopes of its own, else None."""
    kind = type(rule)
    instance: Any = rule
    if not dataclasses.is_dataclass(instance) or "<locals>" in kind.__qualname__:
        return None
    if kind.positive_slope is Rule.positive_slope or kind.negative_slope is Rule.negative_slope:
        return None
    fields = dataclasses.fields(instance)
    numbers = [getattr(rule, field.name) for field in fields]
    if not all(field.init and field.type in (float, "float") for field in fields):
        return None
    if not all(isinstance(number, float | int) for number in numbers):
        return None
    return RuleSpec(f"{kind.__module__}:{kind.__qualname__}", [float(number) for number in numbers])


def rule_of(path: str, numbers: list[float]) -> Rule:
    """The rule that `spec_of` described."""
    module, _, name = path.partition(":")
    kind: Any = sys.modules[module]
    for part in name.split("."):
        kind = getattr(kind, part)
    return _build(kind, tuple(numbers))


@cache
def _build(kind: Any, numbers: tuple[float, ...]) -> Rule:
    names = (field.name for field in dataclasses.fields(kind))
    return cast(Rule, kind(**dict(zip(names, numbers, strict=True))))
