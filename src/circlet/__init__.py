"""circlet: deep metric learning as pair similarity optimisation.

The public names are loaded on first use, so that `import circlet` and `circlet --help` stay fast. The losses are those
of `circlet.losses`, where each is defined once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circlet import aggregate as aggregate
    from circlet import analyse as analyse
    from circlet import data as data
    from circlet import evaluate as evaluate
    from circlet import functional as functional
    from circlet import losses as losses
    from circlet import models as models
    from circlet import recipes as recipes
    from circlet import rules as rules
    from circlet import sampling as sampling
    from circlet.index import Index as Index
    from circlet.inference import Model as Model
    from circlet.inference import load_model as load_model
    from circlet.losses import *  # noqa: F403
    from circlet.references import AllRanks as AllRanks
    from circlet.references import ClassWeights as ClassWeights
    from circlet.references import MemoryBank as MemoryBank
    from circlet.references import ShardedClassWeights as ShardedClassWeights
    from circlet.run import Run as Run
    from circlet.run import load as load
    from circlet.run import resume as resume
    from circlet.run import train as train
    from circlet.training.gradient_cache import gradient_cache as gradient_cache
    from circlet.training.loop import fit as fit

__version__ = "0.1.0"

_MODULES = (
    "aggregate",
    "analyse",
    "data",
    "evaluate",
    "functional",
    "losses",
    "models",
    "recipes",
    "rules",
    "sampling",
)
_NAMES = {
    "AllRanks": "references",
    "ClassWeights": "references",
    "Index": "index",
    "MemoryBank": "references",
    "Model": "inference",
    "Run": "run",
    "ShardedClassWeights": "references",
    "fit": "training.loop",
    "gradient_cache": "training.gradient_cache",
    "load": "run",
    "load_model": "inference",
    "resume": "run",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"circlet.{name}")
    if name in _NAMES:
        return getattr(import_module(f"circlet.{_NAMES[name]}"), name)
    if name == "__all__":
        return sorted([*_MODULES, *_NAMES, *_of_losses()])
    if name[:1].isupper() and name in _of_losses():
        return getattr(import_module("circlet.losses"), name)
    raise AttributeError(f"module 'circlet' has no attribute {name!r}")


def _of_losses() -> list[str]:
    return [name for name in dir(import_module("circlet.losses")) if name[0].isupper()]


def __dir__() -> list[str]:
    names: list[str] = __getattr__("__all__")
    return names
