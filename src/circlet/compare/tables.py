"""A comparison as text: Markdown for reading, CSV with every run for other programs."""

import csv
import io
import math
from typing import Any

from circlet.compare.comparison import Entry, Result
from circlet.compare.statistics import Interval, mean_interval

COSTS = {"train_seconds": "training, s", "cpu_seconds": "CPU, s", "peak_memory_mib": "memory, MiB"}
DEVICE_MEMORY = "peak_device_memory_mib"


def markdown(result: Result) -> str:
    """The main table: means with 95 % intervals, the paired difference to the baseline, costs.

    Rows are in the order of the comparison, not of success.
    """
    rows = [headings(result), *([name, *cells] for name, cells in table_rows(result))]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def headings(result: Result) -> list[str]:
    """Of the main table."""
    difference = f"{result.headline[-1]}, difference to {result.baseline}"
    return ["loss", *result.headline, difference, *COSTS.values(), *device_memory(result).values()]


def table_rows(result: Result) -> list[tuple[str, list[str]]]:
    """(label, cells) of the main table: raw pixels first."""
    raw = [f"{result.raw_pixels[metric]:.4f}" if metric in result.raw_pixels else "" for metric in result.headline]
    raw += [""] * (len(headings(result)) - 1 - len(raw))
    return [("raw pixels", raw), *((row_name(entry), _cells(result, entry)) for entry in result.entries)]


def row_name(entry: Entry) -> str:
    """Its label, and how many of its runs have diverged."""
    return f"{entry.label}{f' (diverged in {n} of {len(entry.test)})' if (n := entry.num_diverged) else ''}"


def device_memory(result: Result) -> dict[str, str]:
    """Name of the memory of a GPU in cost.json, and heading; empty where none was measured."""
    measured = any(DEVICE_MEMORY in cost for entry in result.entries for cost in entry.cost)
    return {DEVICE_MEMORY: "GPU memory, MiB"} if measured else {}


def csv_text(result: Result) -> str:
    """A row for each loss and seed: settings, all test metrics, costs; a run that diverged has no metrics but why."""
    metrics = result.metrics
    costs = ["train_seconds", "wall_seconds", "cpu_seconds", "peak_memory_mib", "threads", "sessions", "jobs", "device"]
    costs += device_memory(result)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["loss", "settings", "chosen_by", "seed", "steps", *metrics, *costs, "diverged"])
    for entry in result.entries:
        runs = zip(result.seeds, entry.test, entry.cost, entry.diverged, strict=True)
        for seed, test, cost, diverged in runs:
            values = [f"{test[metric]:.6f}" if metric in test else "" for metric in metrics]
            spent = [_spent(cost.get(name, "")) for name in costs]
            steps = result.experiment.loop.steps
            writer.writerow(
                [entry.label, entry.settings, entry.chosen_by, seed, steps, *values, *spent, diverged or ""]
            )
    return file.getvalue()


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
    difference = result.difference(entry, result.headline[-1])
    names = [*COSTS, *device_memory(result)]
    costs = [f"{mean_cost(entry, name):.{0 if name.endswith('mib') else 1}f}" for name in names]
    return [
        *(interval_text(entry.interval(metric)) for metric in result.headline),
        "baseline" if entry.label == result.baseline else interval_text(difference, sign=True),
        *("–" if cost == "nan" else cost for cost in costs),
    ]


def _spent(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.2f}"
    return str(value)
