"""The results of `photographs.py`: a table for people, one row a run for programs, and a plot."""

import csv
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from circlet.compare.statistics import mean_interval
from circlet.evaluate.intervals import Interval, class_interval

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
MARKED = re.compile(r"(<!-- begin benchmarks/results/photographs\.md -->\n).*?(<!-- end)", re.DOTALL)
TITLES = {
    "frozen": "frozen network",
    "whitening": "closed-form whitening",
    "ours": "`circlet train folder`, empty cache",
    "ours-warm": "`circlet train folder`, warm cache",
    "ours-minutes": "`circlet train folder --minutes {minutes:g}`",
    "pml-circle": "PML CircleLoss, new head",
    "pml-circle-none": "PML CircleLoss, no head",
    "pml-circle-careful": "PML CircleLoss, no head, careful",
    "pml-proxy-anchor": "PML ProxyAnchorLoss, new head",
    "pml-proxy-anchor-none": "PML ProxyAnchorLoss, no head",
    "pml-multi-similarity": "PML MultiSimilarityLoss + miner, new head",
    "pml-multi-similarity-none": "PML MultiSimilarityLoss + miner, no head",
    "oml-triplet": "OML TripletLossWithMiner, no head",
}
Run = dict[str, Any]


class Group(NamedTuple):
    """The runs of one row."""

    method: str
    minutes: float | None
    runs: list[Run]

    @property
    def title(self) -> str:
        """As in the table."""
        budget = "" if self.minutes is None or "{" in TITLES[self.method] else f", {self.minutes:g} min"
        return TITLES[self.method].format(minutes=self.minutes) + budget

    @property
    def splits(self) -> list[int]:
        """Those that were run."""
        return sorted({run["split"] for run in self.runs})

    def by_query(self, split: int, what: str) -> torch.Tensor:
        """Means over the seeds, of each query of a split."""
        rows = [run["queries"][what] for run in self.runs if run["split"] == split]
        return torch.from_numpy(np.mean(rows, axis=0, dtype=np.float64))

    def of_split(self, split: int, what: str) -> float:
        """The mean over seeds of a figure."""
        return statistics.fmean(run[what] for run in self.runs if run["split"] == split)

    def cost(self, what: str) -> float:
        """The median over runs."""
        return statistics.median(run[what] for run in self.runs)

    def over_seeds(self) -> Interval | None:
        """Of MAP@R, the interval over seeds of its mean over splits; None with fewer than two of all splits."""
        seeds = sorted({run["seed"] for run in self.runs})
        chosen = [[run["map_at_r"] for run in self.runs if run["seed"] == seed] for seed in seeds]
        means = [statistics.fmean(values) for values in chosen if len(values) == len(self.splits)]
        return Interval(*mean_interval(means)) if len(means) > 1 else None


def write_results(work: Path, results: Path, order: Sequence[str]) -> str:
    """Write all from the files of the runs that are there; gives the text. The README's table is that of RESULTS."""
    every = [json.loads(path.read_text()) for path in sorted(work.glob("*.json"))]
    runs = [run for run in every if "failed" not in run]
    reasons = sorted({run["failed"] for run in every if "failed" in run})
    groups = grouped(runs, order)
    if not groups:
        return "\n".join(reasons)
    table = main_table(groups)
    rest = f"{where(runs)}\n\n{by_split(groups)}\n{notes(groups, reasons)}"
    results.mkdir(exist_ok=True)
    (results / "photographs.md").write_text(table)
    (results / "photographs_splits.md").write_text(rest)
    write_csv(runs, results / "photographs.csv")
    plot(groups, results / "photographs.png")
    if results == RESULTS:
        README.write_text(MARKED.sub(lambda match: match[1] + table + match[2], README.read_text()))
    return f"{table}\n{rest}"


def grouped(runs: list[Run], order: Sequence[str]) -> list[Group]:
    """By method and budget, in the order of the table."""
    found: dict[tuple[str, float | None], list[Run]] = {}
    for run in runs:
        found.setdefault((run["method"], run["minutes"]), []).append(run)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1] or 0))
    return [Group(*key, found[key]) for key in keys]


def where(runs: list[Run]) -> str:
    """Machine, versions, dates, and the images."""
    last = max((run["machine"] for run in runs), key=lambda machine: machine["date"])
    processors = sorted({f"{run['machine']['cpu']} ({run['machine']['cores']} cores)" for run in runs})
    revisions = sorted({run["machine"]["revision"] for run in runs})
    dates = sorted(run["machine"]["date"][:10] for run in runs)
    peers = sorted({run["info"]["peer"] for run in runs if "peer" in run["info"]})
    named = [f"{name} {last[name]}" for name in ("circlet", "torch", "numpy", "pillow")]
    wide = "yes" if "AVX512" in last["vectors"].upper() else "no"
    return (f"{'/'.join(Path(runs[0]['settings']['root']).parts[-2:])}, EfficientNet-Lite0 at 224 pixels; "
            f"{'; '.join(processors)}, AVX-512: {wide} ({last['vectors']}), {runs[0]['settings']['threads']} threads; "
            f"Python {last['python']}, {', '.join(named + peers)}; revision {', '.join(revisions)}; {dates[0]} to "
            f"{dates[-1]}.")  # fmt: skip


def pooled(group: Group, what: str, baseline: Group | None = None) -> Interval:
    """Mean over the queries of all splits, less those of a baseline; interval over classes, by name in all splits."""
    splits = [split for split in group.splits if baseline is None or split in baseline.splits]
    if not splits:
        return Interval(float("nan"), float("nan"), float("nan"))
    values = torch.cat([group.by_query(split, what) for split in splits])
    if baseline is not None:
        values = values - torch.cat([baseline.by_query(split, what) for split in splits])
    first = {split: next(run for run in group.runs if run["split"] == split) for split in splits}
    names = [name for split in splits for name in first[split]["queries"]["classes"]]
    return class_interval(values, torch.from_numpy(np.unique(names, return_inverse=True)[1]))


def main_table(groups: list[Group]) -> str:
    """A row a method."""
    frozen = next((group for group in groups if group.method == "frozen"), None)
    lines = ["| | Recall@1 | MAP@R | over seeds | MAP@R less that of the frozen network | wall time | memory | runs |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for group in groups:
        seeds = group.over_seeds()
        cells = [
            group.title,
            f"{pooled(group, 'first').mean:.3f}",
            f"{pooled(group, 'map_at_r').mean:.3f}",
            "" if seeds is None else f"± {seeds.half_width:.3f}",
            "" if frozen in (None, group) else _signed(pooled(group, "map_at_r", frozen)),
            f"{group.cost('wall_seconds'):.0f} s",
            f"{group.cost('peak_memory_mib'):.0f} MiB",
            str(len(group.runs)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def by_split(groups: list[Group]) -> str:
    """Each class split, means over seeds."""
    splits = sorted({split for group in groups for split in group.splits})
    heads = "".join(f" split {split} |" for split in splits)
    lines = [f"| Recall@1 / MAP@R |{heads} steps |", "|---|" + "---|" * (len(splits) + 1)]
    for group in groups:
        cells = [
            f"{group.of_split(split, 'recall_at_1'):.3f} / {group.of_split(split, 'map_at_r'):.3f}"
            if split in group.splits else "" for split in splits
        ]  # fmt: skip
        steps = [run["info"]["steps"] for run in group.runs if "steps" in run["info"]]
        lines.append(f"| {group.title} | {' | '.join(cells)} | {f'{statistics.median(steps):.0f}' if steps else ''} |")
    return "\n".join(lines) + "\n"


def notes(groups: list[Group], reasons: list[str]) -> str:
    """How to read it, what did not run, and what the runs of ours said."""
    settings = groups[0].runs[0]["settings"]
    network, head = settings["rates"]
    lines = [
        "Figures: means over queries and seeds, of all splits. Intervals are of 95 %: over seeds of the training "
        "(Student's t, of the mean over splits), and over test classes (bootstrap, a class drawn in all splits that "
        "have it). Time and memory: medians over runs, of a process from start to exit. The minutes of the peers are "
        f"for their training alone, those of ours for everything. PML: pytorch-metric-learning, Adam, {network:g} for "
        f"the network, {head:g} for a new head (linear, to 256 numbers); careful: no head, batch norm as it was, "
        "AdamW, 3e-4 that falls with the time, smaller images in training. OML: open-metric-learning, the loop of its "
        "README; torchvision's missing operators are declared for it.",
        *(f"Did not run: {reason}" for reason in reasons),
    ]
    for group in groups:
        said = {run["info"]["sentence"] for run in group.runs if run["info"].get("sentence")}
        lines += [f"{group.title}: {sentence}" for sentence in sorted(said)[:3]]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def write_csv(runs: list[Run], path: Path) -> None:
    """A row a run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        figures = [f"{name}{bound}" for name in ("recall@1", "map@r") for bound in ("", " low", " high")]
        costs = ["wall_seconds", "peak_memory_mib", "steps", "load", "date"]
        writer.writerow(["method", "minutes", "split", "seed", *figures, *costs])
        for run in sorted(runs, key=lambda run: (run["method"], run["minutes"] or 0, run["split"], run["seed"])):
            found = [run["recall_at_1"], *run["recall_at_1_interval"], run["map_at_r"], *run["map_at_r_interval"]]
            writer.writerow([run["method"], "" if run["minutes"] is None else run["minutes"], run["split"], run["seed"],
                             *(f"{figure:.4f}" for figure in found), run["wall_seconds"], run["peak_memory_mib"],
                             run["info"].get("steps", ""), run["machine"]["load"], run["machine"]["date"]])  # fmt: skip


def plot(groups: list[Group], path: Path) -> None:
    """MAP@R against wall time; the bars are the interval of the difference to the frozen network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    frozen = next((group for group in groups if group.method == "frozen"), None)
    figure, axes = plt.subplots(figsize=(9.5, 5.0), layout="constrained")
    colours = {"frozen": "#555555", "whitening": "#999999", "ours": "#c2185b", "pml": "#1f6fb4", "oml": "#2e8b57"}
    markers: dict[str, int] = {}
    for group in groups:
        family = group.method.split("-")[0]
        marker = "osD^vP*X<>"[markers.setdefault(family, 0)]
        markers[family] += 1
        mean, seconds = pooled(group, "map_at_r").mean, group.cost("wall_seconds")
        low = high = mean
        if frozen is not None and group is not frozen:
            gained = pooled(group, "map_at_r", frozen)
            low, high = mean - (gained.mean - gained.low), mean + (gained.high - gained.mean)
        # methods of one budget end together: a little aside, so that their bars can be told apart
        alike = [other.method for other in groups if other.minutes == group.minutes]
        place = alike.index(group.method) - (len(alike) - 1) / 2
        aside = 1.0 if group.minutes is None else 1.06**place
        style = {"fmt": marker, "color": colours[family], "capsize": 3, "markersize": 7, "alpha": 0.9}
        bars = [[mean - low], [high - mean]]
        axes.errorbar(seconds * aside, mean, bars, label=group.title.replace("`", ""), **style)
    if frozen is not None:
        axes.axhline(pooled(frozen, "map_at_r").mean, color=colours["frozen"], linestyle=":", linewidth=1)
    axes.set_xscale("log")
    ticks = [5, 10, 20, 60, 120, 300, 600, 1200, 3600]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s:.0f} s" if s < 60 else f"{s / 60:.0f} min"))
    axes.set_xlabel("wall time of the whole process (methods of one budget side by side)")
    axes.set_ylabel("MAP@R on unseen classes")
    axes.set_title("Bars: 95 % interval, over classes, of the difference to the frozen network", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
