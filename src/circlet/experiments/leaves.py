"""Settings by their whole names, such as loss.gamma, and those of them that say where things lie, not what is found."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from circlet.experiments.testing import FaceSets

# Where a machine has its files, how it reads them, and who is told: they may differ between ranks, and between two runs
# of one experiment.
PLACES = (
    "data.root",
    "data.images",
    "data.test_shards",
    "data.workers",
    "data.in_memory",
    "model.weights",
    "loop.trackers",
    *(f"faces.{each.name}" for each in fields(FaceSets)),
)


def leaves(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings in an experiment's JSON by name; the recipe's name is none.

    >>> leaves({"recipe": "mine", "loss": {"name": "circle", "gamma": 80.0}, "ks": [1]})
    {'loss.name': 'circle', 'loss.gamma': 80.0, 'ks': [1]}
    """
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{key}.")
        elif key != "recipe":
            found[f"{prefix}{key}"] = value
    return found
