"""Whoever is killed in the middle of enrolling has lost nothing that was acknowledged, and has nothing twice."""

import random
import threading

import numpy as np
import pytest

from circlet.index import Index
from tests.forks import FORKS, what_was_said
from tests.index.killed import enrol, picture
from tests.index.tiny import tiny_model

NUMBER, KILLS = 100, 4


@pytest.mark.slow
@pytest.mark.subprocess
def test_enrolments_survive_kills(tmp_path):
    location, rng, acknowledged, kills = tmp_path / "index", random.Random(0), [], 0
    while len(acknowledged) < NUMBER:
        first = len(acknowledged)
        heard, said = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=enrol, args=(location, first, NUMBER, said))
        process.start()
        said.close()  # our copy
        assert heard.recv() == "open"
        timer = threading.Timer(rng.uniform(0, 0.3), process.kill)
        if kills < KILLS:
            timer.start()
            kills += 1
        acknowledged += what_was_said(heard)
        process.join()
        timer.cancel()
        with Index.open(location, tiny_model()) as index:
            names = [item.name for item in index.items()]
            assert len(names) == len(set(names))
            assert set(names) >= {f"added:picture {number}" for number in acknowledged}
            assert len(names) <= len(acknowledged) + 1  # the one at which it was killed
    with Index.open(location, tiny_model()) as index:
        assert acknowledged == list(range(NUMBER))
        assert len(index) == NUMBER
        assert len({item.content for item in index.items()}) == NUMBER
        rows = index.model.embed([picture(number) for number in range(NUMBER)], show_progress=False).numpy()
        np.testing.assert_allclose(
            index.store.vectors([f"added:picture {number}" for number in range(NUMBER)]), rows, atol=1e-5
        )
