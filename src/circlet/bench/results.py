"""Results: what was measured on which machine, as JSON, as a Markdown table and as a plot."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from circlet import environment
from circlet.bench.cases import Case
from circlet.bench.contenders import FLOOR
from circlet.bench.measure import Measured
from circlet.files import read_json, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Results:
    """The cases measured so far, each with the machine it ran on; kept in a JSON file if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.cases: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            self.cases = read_json(path, dict[str, dict[str, Any]])

    def add(self, case: Case, rows: Iterable[Measured], about: dict[str, Any]) -> None:
        """Put in, or replace, a case; write the file."""
        self.cases[case.name] = {"case": asdict(case), "machine": about, "rows": [asdict(row) for row in rows]}
        ordered = sorted(self.cases.items(), key=lambda item: _order(item[1]["case"]))
        self.cases = dict(ordered)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.cases)


def _order(case: dict[str, Any]) -> tuple[str, str, int, int, int]:
    return case["device"], case["dtype"], case["num_classes"] or 0, case["dim"], case["batch"]


def machine(threads: int, device: str = "cpu") -> dict[str, Any]:
    """What the figures were taken on: date, processor, threads, load, versions."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {}
    return {**gpu, "threads": threads, **environment.machine("torch", "circlet", "pytorch-metric-learning")}


def table(results: Results) -> str:
    """Markdown: one row for each case and contender; under it the machines."""
    lines = [
        "Forward + backward of Circle loss, gamma=256, m=.25; pair-wise with 4 samples a class. Ratio: to the three",
        "bare matrix products of the naive form, in the same run. Extra memory: beyond the operands and gradients.",
        "",
        "| case | contender | ms | ratio | extra MiB |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.cases.items():
        floor = next((row["seconds"] for row in found["rows"] if row["contender"] == FLOOR), None)
        for row in found["rows"]:
            if row["seconds"] is None:
                lines.append(f"| {name} | {row['contender']} | {row['reason']} | | |")
                continue
            ratio = f"{row['seconds'] / floor:.2f}" if floor else ""
            memory = "" if row["extra_mib"] is None else f"{max(0.0, row['extra_mib']):.0f}"
            lines.append(f"| {name} | {row['contender']} | {row['seconds'] * 1e3:.2f} | {ratio} | {memory} |")
    lines.append("")
    for name, found in results.cases.items():
        about = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
        lines.append(f"- {name}: {about}.")
    return "\n".join(lines) + "\n"


def plot(results: Results) -> "Figure":
    """Time and memory against the batch size (pair-wise) or the number of classes, a row of two axes for each."""
    import matplotlib.figure
    from matplotlib.lines import Line2D

    kinds = [
        (label, key, [found for found in results.cases.values() if (found["case"]["num_classes"] is None) == pairwise])
        for label, key, pairwise in (("batch size", "batch", True), ("classes", "num_classes", False))
    ]
    kinds = [kind for kind in kinds if kind[2]]
    figure = matplotlib.figure.Figure(figsize=(13, 4 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), 2, squeeze=False)
    contenders = (measured["contender"] for found in results.cases.values() for measured in found["rows"])
    every = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(contenders))}
    for (label, key, cases), row in zip(kinds, grid, strict=True):
        series: dict[tuple[str, str], list[tuple[int, float, float | None]]] = {}
        for found in cases:
            case = found["case"]
            settings = f"D={case['dim']}, {case['dtype']}" + (f", B={case['batch']}" if key == "num_classes" else "")
            for measured in found["rows"]:
                if measured["seconds"] is not None:
                    point = case[key], measured["seconds"], measured["extra_mib"]
                    series.setdefault((measured["contender"], settings), []).append(point)
        colours = {name: every[name] for name, _ in series}
        markers = dict(zip(dict.fromkeys(settings for _, settings in series), "os^vDP*X<>" * len(series), strict=False))
        for (name, settings), points in series.items():
            points.sort()
            style = {"color": colours[name], "marker": markers[settings]}
            row[0].plot([p[0] for p in points], [p[1] for p in points], **style)
            # On a logarithmic axis nothing is drawn as 1 MiB.
            kept = [(p[0], max(p[2], 1.0)) for p in points if p[2] is not None]
            row[1].plot([p[0] for p in kept], [p[1] for p in kept], **style)
        row[0].set(xscale="log", yscale="log", xlabel=label, ylabel="seconds")
        row[1].set(xscale="log", yscale="log", xlabel=label, ylabel="extra memory, MiB (at least 1)")
        named = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
        named += [Line2D([], [], color="grey", ls="", marker=marker, label=text) for text, marker in markers.items()]
        row[1].legend(handles=named, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        for axes in row:
            axes.grid(alpha=0.3)
    return figure
