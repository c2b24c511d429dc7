"""Started by test_kills: enrols pictures one by one into an index, and says of each that it is there.

python killed.py INDEX FIRST LAST
"""

import sys

import numpy as np

from circlet.index import Index
from tests.index.tiny import tiny_model


def picture(number):
    """One that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def main(location, first, last):
    with Index.create(tiny_model(), location) as index:
        print("open", flush=True)
        for number in range(first, last):
            index.add(picture(number), f"class {number % 7}", [f"picture {number}"], show_progress=False)
            print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
