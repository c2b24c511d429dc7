"""A verb that is killed loses nothing; see kills.py for as many kills as one likes."""

import pytest

from tests.fuzz.kills import kill_often


@pytest.mark.subprocess
@pytest.mark.slow
def test_killed_anywhere_and_given_again(tmp_path):
    assert set(kill_often(2, tmp_path).values()) == {2}
