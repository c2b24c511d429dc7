"""A comparison as text: Markdown for reading, CSV with every run for other programs."""

import csv
import io
import math
from typing import Any

from circlet.compare.result import Entry, Result
from circlet.compare.significance import Difference
from circlet.compare.statistics import Interval, mean_interval
from circlet.compare.verdicts import (
    CLOSED_FORM,
    METRIC,
    by_classes_alone,
    p_text,
    start_of,
    to_baseline,
    to_frozen,
    verdicts,
)

COSTS = {"train_seconds": "training, s", "cpu_seconds": "CPU, s", "peak_memory_mib": "memory, MiB"}
DEVICE_MEMORY = "peak_device_memory_mib"


def markdown(result: Result) -> str:
    """The main table: means with 95 % intervals, the paired difference to the baseline (of heads in
    `verdicts_markdown`), costs.

    Rows are in the order of the comparison, not of success.
    """
    return _markdown(headings(result), table_rows(result))


def verdicts_markdown(result: Result) -> str:
    """What differs in sentences, and the table that they rest on; empty where nothing is known class by class."""
    sentences = "".join(f"{sentence}\n\n" for sentence in verdicts(result))
    return sentences + _markdown(difference_headings(result), difference_rows(result)) if sentences else ""


def _markdown(columns: list[str], rows: list[tuple[str, list[str]]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [columns, *([name, *cells] for name, cells in rows)]]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]]) + "\n"


def headings(result: Result) -> list[str]:
    """Of the main table."""
    difference = [] if by_classes_alone(result) else [f"{result.headline[-1]}, difference to {result.baseline}"]
    return ["loss", *result.headline, *difference, *COSTS.values(), *device_memory(result).values()]


def table_rows(result: Result) -> list[tuple[str, list[str]]]:
    """(label, cells) of the main table: first what there is without any loss."""
    missing = [""] * (len(headings(result)) - 1 - len(result.headline))
    rows = []
    for name, metrics in without_loss(result).items():
        cells = [f"{metrics[metric]:.4f}" if metric in metrics else "" for metric in result.headline]
        rows.append((name, cells + missing))
    return [*rows, *((row_name(entry), _cells(result, entry)) for entry in result.entries)]


def without_loss(result: Result) -> dict[str, dict[str, float]]:
    """Metrics of the rows without any loss, by what they are called."""
    raw = {} if result.experiment.data.of_vectors else {"raw pixels": result.raw_pixels}
    rows = {**raw, start_of(result): result.frozen, CLOSED_FORM: result.closed_form}
    return {name: metrics for name, metrics in rows.items() if metrics is not None}


def difference_headings(result: Result) -> list[str]:
    """Of the table of differences over the test classes."""
    references = [*([start_of(result)] if result.frozen_classes else []), result.baseline]
    return ["loss", *(text for name in references for text in (f"{METRIC}, difference to {name}", "p (Holm)"))]


def difference_rows(result: Result) -> list[tuple[str, list[str]]]:
    """(label, cells) of that table: the closed form first, if there is one."""
    frozen, baseline = to_frozen(result), to_baseline(result)
    columns = [*([frozen] if result.frozen_classes else []), baseline]
    labels = [CLOSED_FORM] * (CLOSED_FORM in frozen) + [entry.label for entry in result.entries]
    return [(label, [cell for column in columns for cell in _difference(column.get(label))]) for label in labels]


def _difference(found: Difference | None) -> list[str]:
    return ["", ""] if found is None else [interval_text(found.interval, sign=True), p_text(found.corrected)]


def row_name(entry: Entry) -> str:
    """Its label, and how many of its runs have diverged."""
    return f"{entry.label}{f' (diverged in {n} of {len(entry.test)})' if (n := entry.num_diverged) else ''}"


def device_memory(result: Result) -> dict[str, str]:
    """Name of the memory of a GPU in cost.json, and heading; empty where none was measured."""
    measured = any(DEVICE_MEMORY in cost for entry in result.entries for cost in entry.cost)
    return {DEVICE_MEMORY: "GPU memory, MiB"} if measured else {}


def csv_text(result: Result) -> str:
    """A row for each loss and seed: settings, all test metrics, costs; a run that diverged has no metrics but why.

    Before them rows of the frozen network and the closed form, where there are. Differences over the test classes are
    those of the loss, the same in all its rows.
    """
    metrics = result.metrics
    costs = ["train_seconds", "wall_seconds", "cpu_seconds", "peak_memory_mib", "threads", "sessions", "jobs", "device"]
    costs += device_memory(result)
    told = {name: found for name, found in (("frozen", to_frozen(result)), ("baseline", to_baseline(result))) if found}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    differences = [text for to in told for text in (f"difference_to_{to}", f"{to}_low", f"{to}_high", f"{to}_p_holm")]
    writer.writerow(["loss", "settings", "chosen_by", "seed", "steps", *metrics, *costs, "diverged", *differences])
    for name, found in without_loss(result).items():
        if name != "raw pixels":
            spent = [""] * (len(costs) + 1)
            writer.writerow([name, "", "", "", "", *_values(found, metrics), *spent, *_csv_differences(told, name)])
    for entry in result.entries:
        runs = zip(result.seeds, entry.test, entry.cost, entry.diverged, strict=True)
        for seed, test, cost, diverged in runs:
            spent = [_spent(cost.get(name, "")) for name in costs]
            how = [entry.label, entry.settings, entry.chosen_by, seed, result.steps]
            ends = [diverged or "", *_csv_differences(told, entry.label)]
            writer.writerow([*how, *_values(test, metrics), *spent, *ends])
    return file.getvalue()


def _values(found: dict[str, float], metrics: list[str]) -> list[str]:
    return [f"{found[metric]:.6f}" if metric in found else "" for metric in metrics]


def _csv_differences(told: dict[str, dict[str, Difference]], label: str) -> list[str]:
    cells: list[str] = []
    for differences in told.values():
        found = differences.get(label)
        values = [] if found is None else [*found.interval, found.corrected]
        cells += [f"{value:.6f}" for value in values] or [""] * 4
    return cells


def interval_text(interval: Interval, *, sign: bool = False) -> str:
    """Mean and half width.

    >>> interval_text(Interval(0.5, 0.25, 0.75)), interval_text(Interval(0.5, math.nan, math.nan), sign=True)
    ('0.5000 ± 0.2500', '+0.5000')
    >>> interval_text(Interval(math.nan, math.nan, math.nan))
    '–'
    """
    if math.isnan(interval.mean):
        return "–"
    mean = f"{interval.mean:{'+' if sign else ''}.4f}"
    return mean if math.isnan(interval.low) else f"{mean} ± {interval.half_width:.4f}"


def mean_cost(entry: Entry, name: str) -> float:
    """Of an entry's runs that have not diverged and have noted it; NaN without any."""
    runs = zip(entry.cost, entry.diverged, strict=True)
    values = [cost[name] for cost, diverged in runs if diverged is None and name in cost]
    return mean_interval(values).mean if values else math.nan


def _cells(result: Result, entry: Entry) -> list[str]:
    difference = interval_text(result.difference(entry, result.headline[-1]), sign=True)
    told = "baseline" if entry.label == result.baseline else difference
    names = [*COSTS, *device_memory(result)]
    costs = [f"{mean_cost(entry, name):.{0 if name.endswith('mib') else 1}f}" for name in names]
    return [
        *(interval_text(entry.interval(metric)) for metric in result.headline),
        *([] if by_classes_alone(result) else [told]),
        *("–" if cost == "nan" else cost for cost in costs),
    ]


def _spent(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.2f}"
    return str(value)
