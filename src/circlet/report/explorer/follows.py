"""How the numbers of a rule or an aggregate follow from the hyper-parameters of a loss, found out by trying.

A loss says what it is made of with given hyper-parameters, and nothing of how that depends on them. The page moves
them without Python, so it needs to know. What can be said here is a sum of terms, each a factor times hyper-parameters
or their inverses: a field that is a hyper-parameter, a gamma that is 1 / temperature, a threshold beta - alpha.
"""

from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

from circlet.losses import HyperParameter

Numbers = dict[str, float]
Function = Callable[[Numbers], float]

# Powers of 2, whose sums and inverses are exact.
_TRIED = (0.5, 1.0, 2.0, 0.25, 0.125, 4.0, -0.5, -1.0, 8.0, 16.0, 32.0)
_TOLERANCE = 1e-9


class Term(NamedTuple):
    """factor times the product of hyper-parameters, each to the power of 1 or -1."""

    factor: float
    powers: dict[str, int]


def follows(function: Function, declared: Mapping[str, HyperParameter]) -> list[Term] | None:
    """The terms whose sum `function` of the hyper-parameters is; None if it is no such sum.

    >>> follows(lambda own: 3 / own["temperature"], {"temperature": HyperParameter(0.1, "temperature")})
    [Term(factor=3.0, powers={'temperature': -1})]
    """
    tried = {name: _values(parameter) for name, parameter in declared.items()}
    terms = _terms(function, tried)
    if terms is None:
        return None
    points = [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]
    points.append({name: parameter.default for name, parameter in declared.items()})
    return terms if all(_equal(total(terms, point), function(point)) for point in points) else None


def total(terms: list[Term], own: Numbers) -> float:
    """The sum of the terms.

    >>> total([Term(1.0, {}), Term(-2.0, {"margin": 1})], {"margin": 0.25})
    0.5
    """
    found = 0.0
    for factor, powers in terms:
        for name, power in powers.items():
            factor *= own[name] ** power
        found += factor
    return found


def _terms(function: Function, tried: Mapping[str, list[float]]) -> list[Term] | None:
    """As `follows`, from three values of each hyper-parameter: one after the other, in its slope and its offset."""
    if not tried:
        factor = float(f"{function({}):.12g}")
        return [Term(factor, {})] if factor else []
    name, *others = tried
    rest = {other: tried[other] for other in others}
    points = [dict(zip(rest, values, strict=True)) for values in product(*rest.values())]
    first, second, third = tried[name]

    def at(value: float, own: Numbers) -> float:
        return function({name: value, **own})

    for power in (1, -1):

        def slope(own: Numbers, power: int = power) -> float:
            return (at(second, own) - at(first, own)) / (second**power - first**power)

        def offset(own: Numbers, power: int = power) -> float:
            return at(first, own) - slope(own, power) * first**power

        if all(_equal(offset(own) + slope(own) * third**power, at(third, own)) for own in points):
            without, with_it = _terms(offset, rest), _terms(slope, rest)
            if without is None or with_it is None:
                return None
            return [*without, *(Term(term.factor, {name: power, **term.powers}) for term in with_it)]
    return None


def _values(parameter: HyperParameter) -> list[float]:
    """Three values that the hyper-parameter may have, none of them 0."""
    found = [value for value in _TRIED if parameter.allows(value)][:3]
    if len(found) == 3:
        return found
    span = parameter.high - parameter.low
    return [parameter.low + share * span for share in (0.25, 0.5, 0.875)]


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= _TOLERANCE * max(1.0, abs(one), abs(other))
