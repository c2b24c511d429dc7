"""A writer that is killed at any moment has lost nothing that it acknowledged, and nothing is there twice."""

import random
import time

import numpy as np
import pytest

from circlet.vectors import Item, embedded, open_store
from tests.forks import FORKS, what_was_said
from tests.thorough import THOROUGH


def write(folder, first, said):
    """In a process of its own: put one item after the other, and say so."""
    embedded.JOURNAL_BYTES = 2000
    store = open_store(folder, 8, create=True)
    said.send("ready")
    for i in range(first, first + 100000):
        row = np.float32(np.eye(8)[i % 8])[None]
        store.put([Item(f"{i}.jpg", str(i), "")], row)
        said.send(i)
        if i % 3 == 0:  # again, which must change nothing
            store.put([Item(f"{i}.jpg", str(i), "")], row)
        if i % 50 == 49:
            store.compact(show_progress=False)


def enrol_and_kill(folder, kills, seed=0):
    """Enrol one by one in processes that are killed; what was acknowledged. Each begins with what was in doubt."""
    chance = random.Random(seed)
    acknowledged, first = set(), 0
    for _ in range(kills):
        heard, said = FORKS.Pipe(duplex=False)
        writer = FORKS.Process(target=write, args=(folder, first, said))
        writer.start()
        said.close()  # our copy
        assert heard.recv() == "ready"
        if not acknowledged:  # however slow the machine is
            acknowledged.add(heard.recv())
        time.sleep(chance.uniform(0.0, 0.15))
        writer.kill()
        writer.join()
        acknowledged.update(what_was_said(heard))
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
def test_killed_often(tmp_path):
    assert len(enrol_and_kill(tmp_path / "index", 300 if THOROUGH else 40, seed=1)) > 40
