"""A writer that is killed at any moment has lost nothing that it acknowledged, and nothing is there twice."""

import random
import subprocess
import sys
import time

import numpy as np
import pytest

from circlet.vectors import Item, open_store

WRITER = """
import sys
import numpy as np
from circlet.vectors import Item, embedded, open_store
embedded.JOURNAL_BYTES = 2000
folder, first = sys.argv[1], int(sys.argv[2])
store = open_store(folder, 8, create=True)
print("ready", flush=True)
for i in range(first, first + 100000):
    row = np.float32(np.eye(8)[i % 8])[None]
    store.put([Item(f"{i}.jpg", str(i), "")], row)
    print(i, flush=True)
    if i % 3 == 0:  # again, which must change nothing
        store.put([Item(f"{i}.jpg", str(i), "")], row)
    if i % 50 == 49:
        store.compact(show_progress=False)
"""


def enrol_and_kill(folder, kills, seed=0):
    """Enrol one by one in processes that are killed; what was acknowledged. Each begins with what was in doubt."""
    chance = random.Random(seed)
    acknowledged, first = set(), 0
    for _ in range(kills):
        command = [sys.executable, "-P", "-c", WRITER, str(folder), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.0, 0.15))
            writer.kill()
            lines = writer.stdout.read().split("\n")[:-1]
        acknowledged |= {int(line) for line in lines}
        with open_store(folder, read_only=True) as store:
            check(store, acknowledged)
            first = len(store)
    with open_store(folder) as store:
        check(store, acknowledged)
    return acknowledged


def check(store, acknowledged):
    names = [item.name for item in store.items()]
    assert len(names) == len(set(names))
    assert acknowledged <= {int(name.removesuffix(".jpg")) for name in names}
    assert names == [f"{i}.jpg" for i in range(len(names))]  # in order, and not more than one that was in doubt
    assert len(names) - len(acknowledged) <= 200
    rows = store.vectors(names)
    assert np.array_equal(rows, np.eye(8, dtype=np.float32)[np.arange(len(names)) % 8])
    assert store.items() == [Item(name, name.removesuffix(".jpg")) for name in names]


@pytest.mark.subprocess
def test_killed_three_times(tmp_path):
    assert enrol_and_kill(tmp_path / "index", 3)


@pytest.mark.subprocess
@pytest.mark.slow
def test_killed_a_hundred_times(tmp_path):
    assert len(enrol_and_kill(tmp_path / "index", 100, seed=1)) > 100
