"""The smallest whole use of an installed circlet: `python -P release/smallest_use.py`, with nothing but its wheel.

Draws some pictures, trains on them, embeds, indexes and searches them by the command line, and
takes a loss in Python. Prints what it did; any failure ends it with a traceback.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

COLOURS = ("red", "green", "blue", "white")


def circlet_says(*words: str, folder: Path) -> str:
    """What the command prints; its errors are ours."""
    command = [str(Path(sys.executable).with_name("circlet")), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


def draw(folder: Path) -> None:
    """Four noisy pictures of each of some colours, and one of the first to search for."""
    for number in range(4 * len(COLOURS) + 1):
        colour = COLOURS[number % len(COLOURS)]
        path = folder / ("query.jpg" if number == 4 * len(COLOURS) else f"photos/{colour}/{number}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = Image.effect_noise((160, 120), 30 + number).convert("RGB")
        Image.blend(noise, Image.new("RGB", noise.size, colour), 0.6).save(path)


def main() -> None:
    """Do it all in a folder that is thrown away."""
    import circlet

    if "site-packages" not in circlet.__file__:
        raise SystemExit(f"found {circlet.__file__}, expected an installed package")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CIRCLET_CACHE"] = str(folder / "cache")
        draw(folder)
        version = circlet_says("--version", folder=folder).strip()
        circlet_says("train", "folder", "--root", "photos", folder=folder)
        (run,) = (folder / "runs").iterdir()
        if not (run / "report.html").is_file():
            raise SystemExit(f"{run}: found no report")
        circlet_says("embed", f"runs/{run.name}", "photos", folder=folder)
        table = next(path.name for path in folder.iterdir() if path.name in ("embeddings.csv", "embeddings.parquet"))
        circlet_says("index", "photos", folder=folder)
        answer = json.loads(circlet_says("search", "photos.index", "query.jpg", "--format", "json", folder=folder))
    found = answer["queries"][0]["neighbours"][0]
    if found["label"] != "red":
        raise SystemExit(f"found {found} as the nearest, expected one of red")
    import torch

    rows = torch.randn(8, 4, requires_grad=True)
    circlet.CircleLoss()(rows, torch.arange(8) // 2).backward()  # type: ignore[no-untyped-call]
    print(f"{version}, Python {sys.version.split()[0]}, torch {torch.__version__}: trained, embedded ({table}), "
          f"indexed, searched: {found['name']} at {found['similarity']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
