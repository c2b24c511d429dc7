"""A comparison that never was: its numbers, its names and its settings, without a process."""

from math import nan

import numpy as np

from circlet.compare.result import Candidate, Entry, Result
from circlet.recipes import RECIPES

LABELS = ("circle:pair", "am_softmax:class", "triplet:pair")


def entry(label, number, *, seeds=3, settings="margin 0.35, gamma 64", chosen_by="the loss's own default"):
    """One loss: better than the one before it, the last of them searched."""
    rng = np.random.default_rng(number)
    tests = [{"recall@1": 0.6 + 0.1 * number + x, "map@r": 0.3 + 0.1 * number + x} for x in rng.normal(0, 0.02, seeds)]
    cost = {"train_seconds": 12.5, "wall_seconds": 20.0, "cpu_seconds": 30.25, "peak_memory_mib": 800.0, "sessions": 1,
            "threads": 1, "jobs": 2, "device": "cpu"}  # fmt: skip
    curve = [(step, 10.0 / step + number) for step in range(1, 21)]
    tried = [Candidate(settings, 0.25), Candidate("margin 0.35, gamma 16", nan)] if number == 2 else []
    return Entry(label, settings, chosen_by, tried, False, tests, [cost] * seeds, [curve] * seeds, [None] * seeds)


def result(labels=LABELS, *, seeds=3, **changes):
    """The first label is the baseline. changes: of the fields of the Result."""
    facts = {"train_classes": 6, "train_images": 30, "test_classes": 6, "test_images": 30, "validation_share": 0.34,
             "search_steps": 2, "jobs": [2], "threads": [1], "device": ["cpu"]}  # fmt: skip
    found = {
        "entries": [entry(label, number, seeds=seeds) for number, label in enumerate(labels)],
        "baseline": labels[0],
        "experiment": RECIPES["glyphs"](),
        "seeds": list(range(seeds)),
        "raw_pixels": {"recall@1": 0.4, "map@r": 0.1},
        "environment": {"command": "circlet", "torch": "2", "cpus": 2},
        "facts": facts,
    }
    return Result(**{**found, **changes})


def diverged(whole):
    """The same entry, of which the first run has no metrics."""
    lists = {name: list(getattr(whole, name)) for name in ("test", "loss_curve", "diverged")}
    lists["test"][0], lists["loss_curve"][0], lists["diverged"][0] = {}, [], "step 1: the loss is inf"
    return whole._replace(**lists)
