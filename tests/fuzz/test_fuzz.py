"""Damaged and hostile files end in a ValueError that names a file, or are read: never a crash, a hang or 1 GB.

    make fuzz               # an hour; make fuzz MINUTES=5

In the suite each target sees a few examples, the same each time.
"""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.damage import damaged
from tests.fuzz.guard import guarded
from tests.fuzz.targets import TARGETS

SAME_EACH_TIME = "CIRCLET_FUZZ_EXAMPLES" not in os.environ
EXAMPLES = int(os.environ.get("CIRCLET_FUZZ_EXAMPLES", "25"))


@pytest.mark.subprocess  # one target starts some
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damage_is_an_error_that_names_the_file(target, tmp_path):
    target.make(tmp_path)
    files = sorted(path for pattern in target.damaged for path in tmp_path.glob(pattern))
    sound = {path: path.read_bytes() for path in files}
    expected = target.read(tmp_path)

    @settings(max_examples=EXAMPLES // target.cost or 1, derandomize=SAME_EACH_TIME, database=None)
    @given(st.sampled_from(files), st.lists(target.edits, min_size=1, max_size=3))
    def check(path, edits):
        content = damaged(sound[path], edits)
        path.write_bytes(content)
        try:
            with guarded():
                found = target.read(tmp_path)
        except ValueError as error:
            names = (path.name, str(tmp_path))
            found, reason = expected, str(error)
        else:
            names, reason = ("",), ""
        finally:
            path.write_bytes(sound[path])
        assert any(name in reason for name in names), "the error names no file"
        if target.exact and content != sound[path]:
            assert found == expected, "other content was read without a word"

    check()
