"""A comparison as text: Markdown for reading, CSV with every run for other programs."""

import csv
import io
import math

from circlet.compare.comparison import Entry, Result
from circlet.compare.statistics import Interval, mean_interval


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
    return ["loss", *result.headline, difference, "training, s", "CPU, s", "memory, MiB"]


def table_rows(result: Result) -> list[tuple[str, list[str]]]:
    """(label, cells) of the main table: raw pixels first."""
    raw = [f"{result.raw_pixels[metric]:.4f}" for metric in result.headline]
    return [("raw pixels", [*raw, "", "", "", ""]), *((entry.label, _cells(result, entry)) for entry in result.entries)]


def csv_text(result: Result) -> str:
    """A row for each loss and seed: settings, all test metrics, costs."""
    metrics = list(result.entries[0].test[0])
    costs = ["train_seconds", "wall_seconds", "cpu_seconds", "peak_memory_mib", "threads", "sessions"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["loss", "settings", "chosen_by", "seed", "steps", *metrics, *costs])
    for entry in result.entries:
        for seed, test, cost in zip(result.seeds, entry.test, entry.cost, strict=True):
            values = [f"{test[metric]:.6f}" for metric in metrics]
            spent = [f"{cost[name]:.2f}" if isinstance(cost[name], float) else cost[name] for name in costs]
            steps = result.experiment.loop.steps
            writer.writerow([entry.label, entry.settings, entry.chosen_by, seed, steps, *values, *spent])
    return file.getvalue()


def interval_text(interval: Interval, *, sign: bool = False) -> str:
    """Mean and half width.

    >>> interval_text(Interval(0.5, 0.25, 0.75)), interval_text(Interval(0.5, math.nan, math.nan), sign=True)
    ('0.5000 ± 0.2500', '+0.5000')
    """
    mean = f"{interval.mean:{'+' if sign else ''}.4f}"
    return mean if math.isnan(interval.low) else f"{mean} ± {interval.half_width:.4f}"


def mean_cost(entry: Entry, name: str) -> float:
    """Of an entry's runs."""
    return mean_interval([cost[name] for cost in entry.cost]).mean


def _cells(result: Result, entry: Entry) -> list[str]:
    difference = result.difference(entry, result.headline[-1])
    return [
        *(interval_text(entry.interval(metric)) for metric in result.headline),
        "baseline" if entry.label == result.baseline else interval_text(difference, sign=True),
        f"{mean_cost(entry, 'train_seconds'):.1f}",
        f"{mean_cost(entry, 'cpu_seconds'):.1f}",
        f"{mean_cost(entry, 'peak_memory_mib'):.0f}",
    ]
