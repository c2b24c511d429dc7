"""What test_kills starts: enrols pictures one by one into an index, and says of each that it is there."""

import numpy as np

from circlet.index import Index
from tests.index.tiny import tiny_model


def picture(number):
    """One that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def enrol(location, first, last, said):
    with Index.create(tiny_model(), location) as index:
        said.send("open")
        for number in range(first, last):
            index.add(picture(number), f"class {number % 7}", [f"picture {number}"], show_progress=False)
            said.send(number)
