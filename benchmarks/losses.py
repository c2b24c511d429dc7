"""Time and peak memory of the losses, forward + backward, against their peers and the bare matrix products.

    python benchmarks/losses.py [--cases pair-4096 class-100000] [--steps 5] [--threads 2]

For each case the contenders take turns within one process (so that a busy machine is unfair to none), best of
`steps`. Memory is the high-water mark of a fresh process for each, above what it had with the operands made, less
their gradients. Writes benchmarks/results/losses_cpu.{json,md,png}.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from contenders import Case, Data, contenders

RESULTS = Path(__file__).parent / "results"
CASES = {
    "pair-80": Case(80),
    "pair-512": Case(512),
    "pair-4096": Case(4096),
    "pair-16384": Case(16384),
    "pair-65536": Case(65536),
    "class-100000": Case(512, num_classes=100_000),
    "class-1000000": Case(1024, num_classes=1_000_000),
}


def time_all(case: Case, steps: int, limit_mib: float) -> dict[str, float | str]:
    """Best seconds of each contender, or why it was left out."""
    data = Data(case)
    builders = contenders(case, limit_mib)
    runs = {name: build(data) for name, build in builders.items() if not isinstance(build, str)}
    best = dict.fromkeys(runs, float("inf"))
    slow = case.matrix_mib > 1000
    repeats = max(1, min(1000, int(1e6 / case.batch**2))) if case.num_classes is None else 1
    for step in range(-1, steps if not slow else 1):
        for name, run in runs.items():
            if slow and step < 0 and name == "circlet":
                continue  # one step of a minute needs no warm-up
            start = time.perf_counter()
            for _ in range(repeats if step >= 0 else 3):
                run()
                if slow:
                    break
            if step >= 0:
                best[name] = min(best[name], (time.perf_counter() - start) / repeats)
    return {name: best.get(name, build if isinstance(build, str) else "") for name, build in builders.items()}


def peak_extra_mib(case: Case, name: str) -> float:
    """High-water mark of one step above the operands, less the gradients."""
    builder = contenders(case, float("inf"))[name]
    assert not isinstance(builder, str)
    small = Case(min(case.batch, 640), case.dim, None if case.num_classes is None else 4096)
    builder(Data(small))()  # load the libraries
    data = Data(case)
    step = builder(data)
    if name.startswith("torch.compile"):
        step()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    step()
    gradients = sum(leaf.numel() for leaf in (data.x, data.y) if leaf is not None) * 4 / 2**20
    return _status("VmHWM") - before - gradients


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _child(*arguments: str) -> str:
    result = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if result.returncode:
        return json.dumps(f"failed: {result.stderr.strip().splitlines()[-1] if result.stderr.strip() else 'killed'}")
    return result.stdout.strip().splitlines()[-1]


def machine(threads: int) -> dict[str, str | int | float]:
    """What the figures were taken on."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())  # fmt: skip
    versions = {name: importlib.metadata.version(name) for name in ("torch", "circlet")}
    try:
        versions["pytorch-metric-learning"] = importlib.metadata.version("pytorch-metric-learning")
    except importlib.metadata.PackageNotFoundError:
        versions["pytorch-metric-learning"] = "not installed"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        **versions,
    }


def table(results: dict[str, object]) -> str:
    """Markdown: one row for each case and contender."""
    about = results["machine"]
    assert isinstance(about, dict)
    lines = [
        "# Losses on a CPU: time and memory, forward + backward",
        "",
        ", ".join(f"{key} {value}" for key, value in about.items()) + ".",
        "",
        "fp32, gamma=256, m=.25; pair-wise: 4 samples a class. Memory is beyond the operands and their gradients. A "
        "ratio is to the three bare matrix products of the naive form, in the same run.",
        "",
        "| case | contender | ms | ratio | extra MiB |",
        "|---|---|---|---|---|",
    ]
    cases = results["cases"]
    assert isinstance(cases, dict)
    for key, rows in cases.items():
        floor = rows["three bare matrix products"]["seconds"]
        for name, row in rows.items():
            seconds, memory = row["seconds"], row.get("extra_mib")
            if isinstance(seconds, str):
                lines.append(f"| {CASES[key].name} | {name} | {seconds} | | |")
                continue
            ratio = f"{seconds / floor:.2f}" if isinstance(floor, float) else ""
            memory = f"{memory:.0f}" if isinstance(memory, float) else memory or ""
            lines.append(f"| {CASES[key].name} | {name} | {seconds * 1e3:.2f} | {ratio} | {memory} |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, object], path: Path) -> None:
    """Time and memory of the pair-wise cases against the batch size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = results["cases"]
    assert isinstance(cases, dict)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    pairwise = {CASES[key].batch: rows for key, rows in cases.items() if CASES[key].num_classes is None}
    names = dict.fromkeys(name for rows in pairwise.values() for name in rows)
    for axis, field, label in ((axes[0], "seconds", "seconds"), (axes[1], "extra_mib", "extra MiB")):
        for name in names:
            points = [(batch, rows[name][field]) for batch, rows in sorted(pairwise.items())
                      if name in rows and isinstance(rows[name].get(field), float)]  # fmt: skip
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=name)
        axis.set(xscale="log", yscale="log", xlabel="batch size", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.suptitle("Pair-wise Circle loss, forward + backward, D=512")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run the cases asked for; results of other cases in the JSON file are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", type=int, default=5, help="best of so many")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory-limit-mib", type=float, default=12_000, help="skip a contender that needs more")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        case, *name = options.child
        if name:
            print(json.dumps(peak_extra_mib(CASES[case], name[0])))
        else:
            print(json.dumps(time_all(CASES[case], options.steps, options.memory_limit_mib)))
        return
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "losses_cpu.json"
    results = json.loads(file.read_text()) if file.exists() else {"cases": {}}
    results["machine"] = machine(options.threads)
    common = ["--steps", str(options.steps), "--threads", str(options.threads)]
    common += ["--memory-limit-mib", str(options.memory_limit_mib)]
    for case in options.cases:
        seconds = json.loads(_child(*common, "--child", case))
        if isinstance(seconds, str):
            sys.exit(f"{case}: {seconds}")
        rows = {}
        for name, value in seconds.items():
            memory = {} if isinstance(value, str) else {"extra_mib": json.loads(_child(*common, "--child", case, name))}
            rows[name] = {"seconds": value, **memory}
            print(f"{CASES[case].name:32} {name:36} {value if isinstance(value, str) else f'{value * 1e3:10.2f} ms'} "
                  f"{memory.get('extra_mib', '')}", flush=True)  # fmt: skip
        results["cases"][case] = rows
        results["cases"] = {key: results["cases"][key] for key in CASES if key in results["cases"]}
        file.write_text(json.dumps(results, indent=2) + "\n")
        file.with_suffix(".md").write_text(table(results))
        plot(results, file.with_suffix(".png"))


if __name__ == "__main__":
    main()
