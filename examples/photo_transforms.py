"""Transforms of albumentations and torchvision v2 in training: one image at a time, following the seed of the step.

Run:     python examples/photo_transforms.py albumentations      (or torchvision; pip install that)
Prints:  what a short training with it finds on characters never seen in training.

On the command line, from the folder where this file lies: circlet train folder --root photos --augment.transform
photo_transforms:albumentations. Leave normalising to the model.
"""

import sys

from torch import Tensor

import circlet
from circlet.augment import each_image, each_tensor
from circlet.data import glyphs


def albumentations(images: Tensor) -> Tensor:
    """Grain, blur and holes: (batch, channels, height, width) uint8, in and out."""
    import albumentations as A

    changes = A.Compose([A.GaussNoise(std_range=(0.02, 0.1)), A.MotionBlur(p=0.3), A.CoarseDropout(fill=255, p=0.3)])
    return each_image(changes)(images)


def torchvision(images: Tensor) -> Tensor:
    """Another point of view, and another sharpness."""
    from torchvision.transforms import v2

    changes = v2.Compose([v2.RandomPerspective(0.3, p=0.5, fill=255), v2.RandomAdjustSharpness(3.0, p=0.3)])
    return each_tensor(changes)(images)


if __name__ == "__main__":
    transform = {"albumentations": albumentations, "torchvision": torchvision}[sys.argv[1]]
    settings = {"steps": 10, "batch__classes": 8, "augment__dihedral_classes": False}
    run = circlet.train(
        circlet.recipes.glyphs(transform=transform, **settings), data=glyphs(num_instances=8), report=False
    )
    print(f"{run.path}: Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")
