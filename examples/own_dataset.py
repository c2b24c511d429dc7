"""A data set of your own: a function that gives its images in their roles, trained on by name and from Python.

Run:     python examples/own_dataset.py
Prints:  what a short training finds on the held-out classes.

The same on the command line, from the folder where this file lies: circlet train glyphs --data.source
own_dataset:two_alphabets --steps 20
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import circlet
from circlet.data import FileReader, ImageSet, Splits


def two_alphabets(root: Path | None, *, seed: int = 0) -> Splits:
    """Polygons of three to ten corners: classes with an even number to train on, the others to test on.

    root: where the files lie (--root); here they are drawn. Options that it names, such as seed, come from the flags.
    """
    folder = Path(root or "polygons")
    rng = np.random.default_rng(seed)
    names, classes = [], []
    for corners in range(3, 11):
        for number in range(12):
            path = folder / f"{corners}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("L", (32, 32), "white")
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            ImageDraw.Draw(image).polygon([(16 + 12 * np.cos(a), 16 + 12 * np.sin(a)) for a in angles], fill="black")
            image.save(path)
            names.append(f"{corners}/{number}.png")
            classes.append(f"{corners} corners")
    held_out = [int(name.split()[0]) % 2 == 1 for name in classes]

    def part(chosen: list[bool]) -> ImageSet:
        kept = [name for name, wanted in zip(names, chosen, strict=True) if wanted]
        of = [name for name, wanted in zip(classes, chosen, strict=True) if wanted]
        return ImageSet.from_classes(of, kept, FileReader(str(folder), tuple(kept)))

    return Splits(part([not out for out in held_out]), part(held_out))


if __name__ == "__main__":
    settings = {"steps": 20, "batch__classes": 4, "batch__samples": 4, "augment__dihedral_classes": False}
    run = circlet.train(circlet.recipes.glyphs(source=two_alphabets, **settings), report=False)
    print(f"{run.path}: Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")
