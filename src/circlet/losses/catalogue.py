"""All losses by name: those of this folder, those that installed packages register, and `module:Class`.

An installed package registers a loss as an entry point of the group `circlet.losses`, by the loss's name.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import circlet.losses
from circlet.extensions import Extensions
from circlet.losses.base import PairLoss


def _check(name: str, found: Any) -> type[PairLoss]:
    if not (isinstance(found, type) and issubclass(found, PairLoss)):
        what = found.__name__ if isinstance(found, type) else type(found).__name__
        raise ValueError(f"{name}: found {what}, expected a subclass of circlet.PairLoss")
    return found


@cache
def all_losses() -> dict[str, type[PairLoss]]:
    """The losses of this package, by name, in alphabetical order of their files."""
    found: dict[str, type[PairLoss]] = {}
    for file in iter_modules(circlet.losses.__path__):
        module = import_module(f"circlet.losses.{file.name}")
        for value in vars(module).values():
            is_loss = isinstance(value, type) and issubclass(value, PairLoss) and value is not PairLoss
            if is_loss and value.__module__ == module.__name__:
                found[value.name] = value
    return found


EXTENSIONS: Extensions[type[PairLoss]] = Extensions("circlet.losses", "loss", all_losses, _check)


def find_loss(name: str) -> type[PairLoss]:
    """The loss of that name, of an installed package, or `package.module:Class`; ValueError if there is none.

    >>> find_loss("circle").__name__
    'CircleLoss'
    """
    return EXTENSIONS.find(name)
