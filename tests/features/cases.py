"""Keys and rows that tests of the store share: a row is a function of its key, and computing is counted."""

import hashlib
import os

import numpy as np

NETWORK = "0123456789abcdef"
DIM = 5


def key(number):
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def row(name, dim=DIM):
    return np.frombuffer((name * dim)[: 4 * dim], np.uint32).astype(np.float32)


def rows_of(keys, dim=DIM):
    return np.stack([row(name, dim) for name in keys]) if keys else np.empty((0, dim), np.float32)


class Counted:
    """Computes rows of `keys` in batches, remembers what it was asked for, and dies before the `die_at`-th row."""

    def __init__(self, keys, batch=4, die_at=None, dim=DIM):
        self.keys, self.batch, self.die_at, self.dim = keys, batch, die_at, dim
        self.asked = []

    def __call__(self, missing):
        for first in range(0, len(missing), self.batch):
            indices = missing[first : first + self.batch]
            if self.die_at is not None and first + self.batch > self.die_at:
                raise RuntimeError("the lights went out")
            self.asked += indices.tolist()
            yield indices, rows_of([self.keys[i] for i in indices], self.dim)


def files(folder, network=NETWORK):
    """Paths of the store's files."""
    return sorted(folder / network / name for name in os.listdir(folder / network))


def never(missing):
    raise AssertionError(f"computed again: {missing}")
