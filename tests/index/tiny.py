"""A model small enough for a test, and photographs of one colour each that it tells apart."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from circlet.data.pixels import Decoding
from circlet.inference import Model
from circlet.models import Embedder, View


def tiny_model(seed=0, dim=8, **options):
    """A convolution and a linear layer on 12 x 12 pixels, decoded as 16 x 16."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
    network = Embedder(backbone, dim, image_size=(12, 12), mean=(0.5,) * 3, std=(0.25,) * 3)
    settings = {"name": f"tiny-{seed}", "device": "cpu", **options}
    return Model(network, View((12, 12), 0.75), Decoding((16, 16), fit="crop"), **settings)


def photo(path, colour, size=(20, 24), *, seed=0):
    """Write a picture of about one colour; the path."""
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.array(colour) + rng.integers(-12, 13, (*size, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photos(root, classes=4, each=3):
    """A folder with classes of about one colour each; the root."""
    rng = np.random.default_rng(7)
    for c in range(classes):
        colour = rng.integers(0, 256, 3)
        for i in range(each):
            photo(root / f"class {c}" / f"{i}.png", colour, seed=100 * c + i)
    return root
