"""A small index of characters, and pictures of them as files."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from circlet.data.pixels import Decoding
from circlet.index import Index
from circlet.inference import Model
from circlet.models import Embedder, SmallResNet
from circlet.models.views import View

HOST = "http://127.0.0.1:8000"


def model():
    """A network of random weights, always the same."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    network = Embedder(SmallResNet(1, 8), 8, image_size=(32, 32), channels=1, mean=(0.5,), std=(0.5,))
    torch.set_rng_state(state)
    return Model(network, View((32, 32)), Decoding((32, 32), channels=1), name="small", device="cpu")


def pixels(number):
    """Picture `number` (any whole number), 40 x 32 pixels, that no other number has."""
    rng = np.random.default_rng(number)
    return np.kron(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def picture(number=0, kind="PNG", **options):
    """It as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, kind, **options)
    return file.getvalue()


def photos(folder, classes=("ant", "bee", "cat"), each=3):
    """A folder of classes with a few pictures each."""
    for number, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            (folder / label / f"{i}.png").write_bytes(picture(100 * number + i))
    return folder


def index(tmp_path, **options):
    """An index of `photos`, kept below tmp_path and open for writing."""
    return Index.build(model(), photos(tmp_path / "photos", **options), location=tmp_path / "letters.index")


def run(coroutine):
    """Its result, in a thread of its own: once a browser was open, this one has a running loop of playwright's."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
