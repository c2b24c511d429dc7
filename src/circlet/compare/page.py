"""The report of a comparison: one HTML page, self-contained, that says what was done and how sure it is.

This module gathers numbers and says in words what they show; templates/comparison.html lays them out.
"""

import io
import json
import math
import shlex
from typing import TYPE_CHECKING, Any

from circlet.compare.plots import interval_plot, loss_curves
from circlet.compare.result import Result
from circlet.compare.significance import LEVEL
from circlet.compare.tables import device_memory, difference_headings, difference_rows, headings, table_rows
from circlet.compare.verdicts import by_classes_alone, start_of, verdicts
from circlet.experiments.leaves import leaves
from circlet.pages import data_uri, page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = list[tuple[str, list[str]]]  # (label, cells)


def build_page(result: Result, command: list[str]) -> str:
    """The page as text. command: what was typed, to repeat it."""
    experiment = result.experiment
    cost_headings, costs = _costs(result)
    return page(
        "compare/templates/comparison.html",
        f"{experiment.recipe}: {len(result.entries)} losses, {_number(len(result.seeds), 'seed')}",
        styles=("compare/templates/comparison.css",),
        summary=summary(result),
        verdicts=verdicts(result),
        by_classes=by_classes_alone(result),
        difference_headings=difference_headings(result),
        differences=difference_rows(result),
        level=f"{LEVEL:g}",
        of_heads=result.of_heads,
        frozen=start_of(result) if result.frozen is not None else "",
        closed_form=result.closed_form is not None,
        with_models=not result.of_heads or result.facts.get("models", False),
        headings=headings(result),
        rows=table_rows(result),
        made=_made(result.facts),
        intervals=_picture(interval_plot(result)),
        caveats=caveats(result),
        settings=_settings(result),
        curves=_picture(loss_curves(result)),
        cost_headings=cost_headings,
        costs=costs,
        command=shlex.join(command),
        shared=_lines({key: value for key, value in experiment.to_json().items() if key != "loss"}),
        environment=_lines({key: value for key, value in result.environment.items() if key != "command"}),
    )


def summary(result: Result) -> str:
    """One paragraph: the protocol, and which losses differ from the baseline."""
    facts, batch = result.facts, result.experiment.batch
    seeds = f"{_number(len(result.seeds), 'seed')} ({', '.join(map(str, result.seeds))})"
    told = (
        f"Each loss trained {_trained(result)}for {result.steps} steps of {batch.classes * batch.samples} images on "
        f"{facts['train_images']} images of {facts['train_classes']} classes, with {seeds}, and was tested once on "
        f"{facts['test_images']} images of {facts['test_classes']} classes that no run and no choice of settings has "
        "seen."
    )
    if len(result.seeds) == 1:
        return told + " One seed: no interval, and no difference can be told from chance."
    if result.of_heads:  # seeds differ by little there: the classes decide (`verdicts`)
        return told
    better: list[str] = []
    worse: list[str] = []
    unclear: list[str] = []
    untold: list[str] = []
    for entry in result.entries:
        if entry.label != result.baseline:
            difference = result.difference(entry, result.headline[-1])
            if math.isnan(difference.low):
                untold.append(entry.label)
            else:
                (better if difference.low > 0 else worse if difference.high < 0 else unclear).append(entry.label)
    verdicts = [
        f"{name}: {', '.join(labels)}"
        for name, labels in (
            ("above it", better),
            ("below it", worse),
            ("not told apart from it", unclear),
            ("without two seeds of which neither diverged", untold),
        )
        if labels
    ]
    return f"{told} {result.headline[-1]} against {result.baseline}, by the paired intervals: {'; '.join(verdicts)}."


def _trained(result: Result) -> str:
    if not result.of_heads:
        return ""
    shrinkage = result.facts["shrinkage"]
    start = f"the closed form (whitening within classes, shrinkage {shrinkage:g})" if shrinkage else "the identity"
    of_vectors = result.experiment.data.of_vectors
    on = start_of(result) if of_vectors else f"features of the frozen {result.experiment.model.backbone}"
    return f"a linear head on the {on}, from {start}, "


def caveats(result: Result) -> list[str]:
    """What a reader should hold against the numbers."""
    n, steps, of_vectors = len(result.seeds), result.steps, result.experiment.data.of_vectors
    searched = [entry.label for entry in result.entries if len(entry.candidates) > 1]
    unsearched = [entry.label for entry in result.entries if len(entry.candidates) < 2]
    texts = [
        f"{_number(n, 'seed')}: the intervals rest on {_number(n, 'run')} a loss. They hold the chance of "
        f"{'class weights and batches' if result.of_heads else 'weights, batches and augmentation'}, not that of other "
        "data or other test classes; and with several losses against one baseline, one interval in twenty misses by "
        "chance.",
        f"One budget: {steps} steps. A loss that learns slowly at first may overtake in a longer run.",
        f"The learning rate, its warm-up and all else but the loss are those of the recipe {result.experiment.recipe}, "
        f"which was made for {result.experiment.loss.name} loss at level {result.experiment.loss.level}; they were not "
        "chosen for each loss.",
    ]
    if diverged := [f"{entry.label} in {entry.num_diverged} of {n}" for entry in result.entries if entry.num_diverged]:
        texts.append(f"Training diverged (loss or weights were no longer finite): {', '.join(diverged)}. Means, costs "
                     "and differences are of the other runs, so such a loss looks better than it is.")  # fmt: skip
    if result.of_heads:
        kept = "the vectors as they were given" if of_vectors else "features of a network that stays as it is"
        texts.append(f"Only a linear head was trained, on {kept}: a loss that is best here need not be best to train "
                     "a network with.")  # fmt: skip
        if result.facts["shrinkage"] is None:
            texts.append(f"No closed form was better than the {start_of(result)} on validation classes (or there were "
                         f"too few to tell), so heads begin at the {'vectors' if of_vectors else 'features'} as they "
                         "are.")  # fmt: skip
    if result.frozen_classes or any(entry.classes for entry in result.entries):
        texts.append("Differences over the test classes: the loss that stands first among several stands there partly "
                     "by chance; the correction counts for its p-value, not for its interval.")  # fmt: skip
    if result.experiment.data.validation_share and not result.of_heads:
        texts.append(f"Each run held out {result.experiment.data.validation_share:.0%} of the training classes to "
                     "choose its checkpoint, as the recipe does.")  # fmt: skip
    if result.experiment.batch.sampler == "pk" and not result.of_heads and _levels(result) != {"pair"}:
        texts.append("So that all see the same batches, class-level losses too are trained on P classes x K images, "
                     "and no loss on classes that are made up in training (composed, warped): those have no class "
                     "weight. The recipe's own runs may use both, and do better.")  # fmt: skip
    if searched:
        texts.append(f"Settings of {', '.join(searched)} were chosen by a search on "
                     f"{result.facts['validation_share']:.0%} of the training classes, which trained "
                     f"{result.facts['search_steps']} steps a candidate, one seed.")  # fmt: skip
    if unsearched:
        texts.append(f"Settings of {', '.join(unsearched)} were not searched; published ones come from other data, "
                     "batches and networks.")  # fmt: skip
    if edge := [entry.label for entry in result.entries if entry.at_edge]:
        texts.append(f"The best candidate of {', '.join(edge)} is the smallest or the largest that was tried: a wider "
                     "search may find better.")  # fmt: skip
    if any(cost["sessions"] > 1 for entry in result.entries for cost in entry.cost):
        texts.append("Some runs were interrupted and gone on with: what their processes spent after the last "
                     "checkpoint is not all in their CPU time, and nothing of a session that was killed.")  # fmt: skip
    if result.facts["jobs"] and max(result.facts["jobs"]) > 1:
        texts.append("Several runs shared the machine, so wall times say less than CPU times.")
    return texts


def _made(facts: dict[str, Any]) -> str:
    """How the runs say that they were made; each fact is a list of what was found, empty in runs of old versions."""
    parts = [f"{_range(facts['jobs'])} at once"] if facts["jobs"] else []
    if facts["threads"]:
        parts.append(f"{_range(facts['threads'])} CPU thread{'' if facts['threads'] == [1] else 's'} each")
    parts += [f"on {' and '.join(facts['device'])}"] if facts["device"] else []
    return f" ({', '.join(parts)})" if parts else ""


def _range(values: list[int]) -> str:
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _levels(result: Result) -> set[str]:
    return {entry.label.split(":")[1] for entry in result.entries}


def _settings(result: Result) -> Rows:
    rows = []
    for entry in result.entries:
        tried = "; ".join(f"{setting}: {_score(map_at_r)}" for setting, map_at_r in entry.candidates)
        rows.append((entry.label, [entry.settings, entry.chosen_by, tried]))
    return rows


def _score(map_at_r: float) -> str:
    return "diverged" if math.isnan(map_at_r) else f"{map_at_r:.4f}"


def _costs(result: Result) -> tuple[list[str], Rows]:
    """Headings and rows: what each run spent."""
    names = {"train_seconds": "training, s", "wall_seconds": "process, s", "cpu_seconds": "CPU, s",
             "peak_memory_mib": "peak memory, MiB", **device_memory(result)}  # fmt: skip
    rows = []
    for entry in result.entries:
        for seed, cost, reason in zip(result.seeds, entry.cost, entry.diverged, strict=True):
            spent = [cost.get(name, math.nan) for name in names]
            cells = [str(seed), *("–" if math.isnan(value) else f"{value:.1f}" for value in spent)]
            rows.append((entry.label, [*cells, str(cost["sessions"]), "diverged" if reason else "finished"]))
    return ["loss", "seed", *names.values(), "sessions", "ended"], rows


def _picture(figure: "Figure") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return data_uri("image/png", buffer.getvalue())


def _lines(content: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in leaves(content).items())


def _number(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
