"""Hyper-parameters: the numbers of a loss, declared once, with default, range and meaning.

    class MyLoss(PairLoss):
        margin: float = Margin(default=0.2, low=0.0, high=1.0, text="in units of cosine similarity")
        gamma: float = Scale(default=64.0)
        power: float = 2.0          # any finite number

What the command line offers, a search varies and the explorer's sliders move follows from it.
"""

import inspect
import math
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["margin", "scale", "temperature", "number"]


@dataclass(frozen=True)
class HyperParameter:
    """One number of a loss: what it is, its default and the values that it may have.

    role: how a search varies it; scales are multiplied with scales, temperatures divided. Bounds are included, but for
    a scale and a temperature, which must be above 0.
    """

    default: float
    role: Role = "number"
    low: float = -math.inf
    high: float = math.inf
    text: str = ""

    def checked(self, loss: str, name: str, value: Any) -> float:
        """`value` as a float; ValueError that names loss and hyper-parameter if it is no number or out of range."""
        number = _as_float(value)
        if number is None or not self.allows(number):
            raise ValueError(
                f"{loss}: {name}: found {value!r}, expected {self.expected()}" + f" ({self.text})" * bool(self.text)
            )
        return number

    def expected(self) -> str:
        """The values that it may have, in words."""
        if self.role in ("scale", "temperature"):
            return "a finite number > 0"
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        return f"a finite number from {self.low:g} to {self.high:g}"

    def allows(self, number: float) -> bool:
        """Whether it may have this value."""
        if not math.isfinite(number) or not self.low <= number <= self.high:
            return False
        return number > 0 or self.role not in ("scale", "temperature")


def Margin(*, default: float, low: float = -math.inf, high: float = math.inf, text: str = "") -> Any:
    """A hyper-parameter in units of similarity (or angle)."""
    return HyperParameter(default, "margin", low, high, text or "in units of cosine similarity")


def Scale(*, default: float, text: str = "") -> Any:
    """A hyper-parameter that multiplies similarities: > 0."""
    return HyperParameter(default, "scale", text=text or "scale of the similarities")


def Temperature(*, default: float, text: str = "") -> Any:
    """A hyper-parameter that divides similarities: > 0."""
    return HyperParameter(default, "temperature", text=text or "1 / scale")


def Number(*, default: float, low: float = -math.inf, high: float = math.inf, text: str = "") -> Any:
    """Any other number."""
    return HyperParameter(default, "number", low, high, text)


def check_names(loss: str, known: dict[str, HyperParameter], given: dict[str, Any]) -> None:
    """TypeError that names the loss if a setting is none of its own."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"{loss}: found {', '.join(unknown)}, expected {_names(known)}")


def refuse_positional(loss: str, known: dict[str, HyperParameter], values: tuple[object, ...]) -> None:
    """TypeError that shows how to give these values by name."""
    names = [*known, *("?" for _ in values[len(known) :])]
    call = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=False))
    raise TypeError(f"{loss}: found {len(values)} values without a name, expected them by name, such as {loss}({call})")


def declared(loss: type, base: type) -> dict[str, HyperParameter]:
    """The hyper-parameters that the classes from `base` (left out) down to `loss` declare, in order.

    ValueError for one without a default, or with a default that is no number or out of range.
    """
    found: dict[str, HyperParameter] = {}
    for kind in reversed(loss.__mro__):
        if not issubclass(kind, base) or kind is base:
            continue
        for name, annotation in inspect.get_annotations(kind).items():
            if "ClassVar" in str(annotation) or name == "reduction" or name.startswith("_"):
                continue
            default = kind.__dict__.get(name)
            parameter = default if isinstance(default, HyperParameter) else None
            if parameter is None and (number := _as_float(default)) is not None:
                parameter = HyperParameter(number)
            if parameter is None:
                raise ValueError(f"{loss.__name__}: {name}: found {default!r} as its default, expected a number (what "
                                 "is no number goes into __init__)")  # fmt: skip
            parameter.checked(loss.__name__, name, parameter.default)
            found[name] = parameter
    return found


def _as_float(value: Any) -> float | None:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _names(known: dict[str, HyperParameter]) -> str:
    return ", ".join(known) or "no settings"
