"""A transform of your own: a function of one NumPy image, made into one of a batch, with random numbers of its own.

Run:     python examples/own_transform.py
Prints:  what a short training with it finds on characters never seen in training.

Transforms of albumentations and torchvision v2 go in the same way, in a module `photos.py`:

    pipeline = each_image(albumentations.Compose([albumentations.CLAHE(), albumentations.ISONoise(p=0.3)]))
    pipeline = each_tensor(torchvision.transforms.v2.Compose([...]))   # would draw once a batch without each_tensor

and then circlet.recipes.folder(root="photos", transform="photos:pipeline"), or --augment.transform photos:pipeline. The
size may change, but leave normalising to the model. On the command line, from the folder where this file lies:
circlet train glyphs --augment.transform own_transform:pencil --steps 20
"""

import random

import numpy as np
from numpy.typing import NDArray

import circlet
from circlet.augment import each_image


@each_image
def pencil(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grain as of paper, and a stroke across half of the images: (height, width, channels) uint8, in and out.

    The random numbers follow the seed of the training step: each_image seeds `random` and NumPy by it.
    """
    rng = np.random.default_rng(random.getrandbits(64))
    height, width, _ = image.shape
    changed = np.clip(image + rng.normal(0, 12, image.shape), 0, 255)
    if rng.random() < 0.5:
        row, slope = rng.uniform(0, height), rng.uniform(-0.5, 0.5)
        columns = np.arange(width)
        rows = np.clip(row + slope * (columns - width / 2), 0, height - 1).astype(int)
        changed[rows, columns] *= 0.5
    return changed.astype(np.uint8)


if __name__ == "__main__":
    run = circlet.train(circlet.recipes.glyphs(transform=pencil, steps=20, batch__classes=16), report=False)
    print(f"{run.path}: Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")
