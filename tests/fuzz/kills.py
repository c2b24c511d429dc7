"""Kill a verb anywhere, give the command again, and compare with what nobody killed: nothing lost, nothing double.

    python -m tests.fuzz.kills 200                 # kills, shared out among the verbs; make kills KILLS=200
    python -m tests.fuzz.kills 50 index            # of one verb

A process is killed (SIGKILL) at a moment drawn over the time that it takes. Right after it every file is whole or not
there; after the same command, or --resume, the folder holds what the undisturbed one holds.
"""

import csv
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.forks import FORKS

SMALL = ("--steps", "12", "--loop.checkpoint-every", "3", "--loop.log-every", "2", "--data.size", "20", "20",
         "--model.size", "16", "16", "--batch.classes", "4", "--batch.samples", "3", "--loop.precision", "fp32",
         "--loop.validate-every", "6")  # fmt: skip


class Verb(NamedTuple):
    """first: the command; again: that after a kill; needs: what has to be there before; found: what must be equal.

    prepare: what is done in the folder before, beside what the verb `needs`.
    """

    name: str
    first: tuple[str, ...]
    again: Callable[[Path], tuple[str, ...]]
    needs: tuple[str, ...]
    found: Callable[[Path], Any]
    prepare: Callable[[Path], object] = lambda folder: None


def write_photos(root: Path) -> None:
    """Ten classes of six small images."""
    rng = np.random.default_rng(0)
    for number in range(10):
        (root / f"class {number}").mkdir(parents=True)
        colour = rng.integers(0, 256, 3)
        for instance in range(6):
            pixels = (colour + rng.normal(0, 25, (24, 24, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"class {number}" / f"{instance}.png")


def found_by_train(folder: Path) -> Any:
    """Metrics of the result, logged steps, and the weights."""
    from circlet.training import load

    run = folder / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    weights = {name: value.tolist() for name, value in load(run / "last.pt")["model"].items()}
    whole = (run / "report.html").read_text().rstrip().endswith("</html>")
    return json.loads((run / "result.json").read_text())["test"], [line["step"] for line in lines], weights, whole


def found_by_embed(folder: Path) -> Any:
    """Rows and names."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "vectors.parquet").to_pydict()
    return np.load(folder / "vectors.npy").tolist(), table


def found_by_evaluate(folder: Path) -> Any:
    """Metrics."""
    return json.loads((folder / "run" / "evaluation.json").read_text())["test"]


def found_by_report(folder: Path) -> Any:
    """That the page is whole."""
    return (folder / "run" / "report.html").read_text().rstrip().endswith("</html>")


def found_by_compare(folder: Path) -> Any:
    """The table without its times."""
    with open(folder / "compared" / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {key: value for key, value in row.items() if "@" in key or key in ("label", "seed", "loss")} for row in rows
    ]


def found_in_index(folder: Path) -> Any:
    """Images and vectors by name, and the settings; in which order an update adds images is its own business."""
    from circlet.vectors import open_store

    with open_store(folder / "index", read_only=True) as store:
        items = sorted(store.items())
        assert len({item.name for item in items}) == len(items), "found an image twice"
        rows = store.vectors([item.name for item in items])
        meta = {**store.meta(), "root": None, "thresholds": bool(store.meta().get("thresholds"))}
        nearest = store.search(rows, 1).similarity.round(3).tolist()
        return items, rows.round(3).tolist(), meta, nearest


INDEX = ("index", "photos", "--out", "index")


def change_photos(folder: Path) -> None:
    """An index of photographs of which some are then gone, some others, and some new."""
    write_photos(folder / "photos")
    run(folder, INDEX)
    names = sorted((folder / "photos").rglob("*.png"))
    for path in names[::7]:
        path.unlink()
    for number, path in enumerate(names[1::7]):
        Image.new("RGB", (24, 24), (number, 255 - number, 90)).save(path)
    for number in range(8):
        new = folder / "photos" / f"class {20 + number % 2}" / f"{number}.png"
        new.parent.mkdir(exist_ok=True)
        Image.new("RGB", (24, 24), (90, number, 255 - number)).save(new)


def verbs(photos: Path) -> tuple[Verb, ...]:
    """Those that write, on these photographs."""
    train = ("train", "scratch", "--root", str(photos), "--run-dir", "run", *SMALL)
    compare = ("compare", "scratch", "--root", str(photos), "--out", "compared", "--seeds", "1", "--losses",
               "circle:pair", "triplet", "--threads", "1", *SMALL)  # fmt: skip
    embed, evaluate, report = ("embed", "run", str(photos), "--out", "vectors"), ("evaluate", "run"), ("report", "run")

    def resumed(folder: Path) -> tuple[str, ...]:
        return ("train", "--resume", "run") if (folder / "run" / "config.json").exists() else train

    return (
        Verb("train", train, resumed, (), found_by_train),
        Verb("embed", embed, lambda _: embed, ("run",), found_by_embed),
        Verb("evaluate", evaluate, lambda _: evaluate, ("run",), found_by_evaluate),
        Verb("report", report, lambda _: report, ("run",), found_by_report),
        Verb("compare", compare, lambda _: compare, (), found_by_compare),
        Verb("index", INDEX, lambda _: INDEX, (), found_in_index, lambda folder: write_photos(folder / "photos")),
        Verb("index update", INDEX, lambda _: INDEX, (), found_in_index, change_photos),
    )


def work(folder: Path, command: tuple[str, ...]) -> None:
    """In a process of its own: the command, in that folder, its output in a file."""
    os.chdir(folder)
    os.environ["CIRCLET_CACHE"] = str(folder / "cache")
    with open("output.txt", "a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    from circlet.cli import main

    sys.exit(main(list(command)))


def run(folder: Path, command: tuple[str, ...], kill_after: float | None = None) -> float:
    """Seconds that it took; with `kill_after` it is killed then, else it must succeed."""
    began = time.monotonic()
    process = FORKS.Process(target=work, args=(folder, command))
    process.start()
    process.join(kill_after)
    if kill_after is not None:
        process.kill()
        process.join()
    elif process.exitcode != 0:
        raise AssertionError(f"{' '.join(command)}: {(folder / 'output.txt').read_text()}")
    return time.monotonic() - began


def whole(folder: Path) -> None:
    """Every file of the folder can be read; lines may be cut off at the end of a .jsonl file alone."""
    import pyarrow.parquet

    from circlet.training import load

    read: dict[str, Callable[[Path], object]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text().split("\n")[:-1]],
        ".pt": load,
        ".npy": np.load,
        ".parquet": pyarrow.parquet.read_table,
    }
    for path in folder.rglob("*"):
        if path.suffix in read and path.is_file():
            read[path.suffix](path)
    if (folder / "index" / "circlet-vectors.json").exists():
        found_in_index(folder)


def leftovers(folder: Path) -> list[Path]:
    """Files of a write that was cut off."""
    return list(folder.rglob(".*.part"))


def kill_often(kills: int, folder: Path, *, seed: int = 0, only: tuple[str, ...] = ()) -> dict[str, int]:
    """Kill each verb so often, in folders below `folder`; how often by name. AssertionError where anything is lost."""
    draw = random.Random(seed)
    photos = folder / "photos"
    write_photos(photos)
    counts: dict[str, int] = {}
    wanted = {verb.name for verb in verbs(photos) if not only or verb.name in only}
    needed = {"train"} if any(verb.needs for verb in verbs(photos) if verb.name in wanted) else set()
    for verb in verbs(photos):
        reference = folder / "reference" / verb.name
        reference.mkdir(parents=True)
        if verb.name not in wanted and verb.name not in needed:
            continue
        for name in verb.needs:
            shutil.copytree(folder / "reference" / "train" / name, reference / name)
        verb.prepare(reference)
        usual, expected = run(reference, verb.first), verb.found(reference)
        if verb.name not in wanted:
            continue
        for number in range(kills):
            place = folder / f"{verb.name}-{number}"
            place.mkdir()
            for name in verb.needs:
                shutil.copytree(folder / "reference" / "train" / name, place / name)
            verb.prepare(place)
            run(place, verb.first, kill_after=draw.uniform(0, usual))
            whole(place)
            run(place, verb.again(place))
            found = verb.found(place)
            assert found == expected, f"{verb.name}, kill {number} in {place}: found {found}, expected {expected}"
            assert not leftovers(place), f"{verb.name}, kill {number}: found {leftovers(place)}"
            shutil.rmtree(place)
            counts[verb.name] = number + 1
    return counts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        only = tuple(sys.argv[2:])
        kills = -(-int(sys.argv[1]) // (len(only) or len(verbs(Path(made)))))
        print("killed, went on, nothing lost:", kill_often(kills, Path(made), seed=int(time.time()), only=only))
