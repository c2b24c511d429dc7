"""The sentences of a comparison, on made-up numbers: what is better, what is not, and what nobody can tell."""

from dataclasses import replace

import numpy as np
import pytest

from circlet.compare import build_page, markdown, verdicts, verdicts_markdown
from circlet.compare.tables import csv_text
from circlet.recipes import RECIPES
from tests.compare.made_up import diverged, result

CLASSES = 12


def classes(gain, *, spread=0.01, seed=0):
    """Every class a little better than in the frozen network, by `gain` on average."""
    values = 0.5 + gain + np.random.default_rng(seed).normal(0, spread, CLASSES)
    return {f"class {c}": {"map@r": v, "recall@1": 1.0, "queries": 4 + c % 3} for c, v in enumerate(values)}


def of_heads(gains, **changes):
    """A comparison on frozen features, in which the losses gain so much on the frozen network."""
    plain = result()
    entries = [
        entry._replace(classes=[classes(gain, seed=3 * number + run) for run in range(3)])
        for number, (entry, gain) in enumerate(zip(plain.entries, gains, strict=True))
    ]
    settings = {
        "entries": entries,
        "frozen": {"map@r": 0.5, "recall@1": 0.9},
        "frozen_classes": classes(0.0, spread=0),
        "closed_form": {"map@r": 0.6, "recall@1": 0.9},
        "closed_form_classes": classes(0.1, seed=99),
        "experiment": replace(RECIPES["folder"](), ks=(1,)),
        "facts": {**plain.facts, "shrinkage": 0.3, "models": False},
    }
    return plain._replace(**{**settings, **changes})


def test_the_best_loss_is_better_than_the_frozen_network():
    first, second = verdicts(of_heads((0.1, 0.15, 0.1)))
    assert first.startswith("On your data, am_softmax:class is better than the frozen network by 0.1")
    assert "MAP@R (Holm-corrected p = 0.00" in first
    assert "The closed form alone, which trains no loss, differs from it by +0." in first
    assert "are real: am_softmax:class (+0.0" in second
    assert second.endswith("not told from chance: triplet:pair.")


def test_no_loss_is_better():
    first, second = verdicts(of_heads((-0.1, 0.0, -0.2)))
    assert first.startswith("No loss is better than the frozen network, by its interval, on your data; the highest, "
                            "am_softmax:class, differs by")  # fmt: skip
    assert "are real: am_softmax:class (+0." in second
    assert "triplet:pair (-0." in second
    assert "chance" not in second


def test_all_worse_is_not_better():
    assert verdicts(of_heads((-0.3, -0.2, -0.2)))[0].startswith("No loss is better")


def test_without_figures_of_classes_nothing_is_said():
    assert verdicts(result()) == []
    assert verdicts_markdown(result()) == ""
    assert "Differences over the test classes" not in build_page(result(), ["circlet"])


def test_without_a_frozen_network_the_losses_are_told_apart():
    found = of_heads((0.1, 0.2, 0.1), frozen=None, frozen_classes={}, closed_form=None, closed_form_classes=None)
    (only,) = verdicts(found)
    assert only.startswith("Of the differences to circle:pair")
    assert "frozen" not in verdicts_markdown(found)


def test_runs_that_diverged_are_left_out():
    found = of_heads((0.1, 0.15, 0.1))
    lost = found.entries[1]._replace(classes=[{}, *found.entries[1].classes[1:]])
    assert "am_softmax:class" in verdicts(found._replace(entries=[found.entries[0], diverged(lost)]))[0]
    gone = lost._replace(diverged=["step 1"] * 3)
    first, second = verdicts(found._replace(entries=[found.entries[0], gone, found.entries[2]]))
    assert "am_softmax" not in first + second


def test_the_rows_stand_in_table_page_and_csv():
    found = of_heads((0.1, 0.15, 0.1))
    assert "| closed form, no training | 0.9000 | 0.6000 |" in markdown(found)
    assert "| closed form, no training | +0." in verdicts_markdown(found)
    page = build_page(found, ["circlet"])
    for text in ("from the closed form (whitening within classes, shrinkage 0.3)", "closed form without any loss",
                 "<strong>On your data", "those of differences over test classes"):  # fmt: skip
        assert text in page
    unwhitened = found._replace(facts={**found.facts, "shrinkage": None}, closed_form=None, closed_form_classes=None)
    assert "No closed form was better than the frozen network" in build_page(unwhitened, ["circlet"])
    assert csv_text(found).splitlines()[2].startswith('"closed form, no training",')


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_network_without_stages_has_its_row_too(seeds):
    found = result(seeds=seeds, frozen={"map@r": 0.5, "recall@1": 0.9})
    assert "| frozen network | 0.9000 | 0.5000 |" in markdown(found)
    assert "difference to circle:pair" in markdown(found)
