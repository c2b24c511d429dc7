"""A verb that is killed loses nothing; see kills.py for as many kills as one likes."""

import pytest

from tests.fuzz.kills import kill_often
from tests.thorough import THOROUGH


@pytest.mark.subprocess
@pytest.mark.slow
def test_killed_anywhere_and_given_again(tmp_path):
    kills = 5 if THOROUGH else 1
    assert set(kill_often(kills, tmp_path).values()) == {kills}
