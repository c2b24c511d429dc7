"""Whose part of a work is which, and errors that go from one process to another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.data import DataError
from circlet.data.images import SeenClassError
from circlet.distributed import helpers, led, led_to, rows_of_ranks, shares
from circlet.distributed.sharing import sendable


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 9))
def test_parts_are_whole_steps_in_order_and_even(count, step, ranks):
    parts = shares(count, step, ranks)
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert len(parts) == ranks
    assert all(part.start % step == 0 for part in parts if part.start < part.stop)
    steps = [-(-(part.stop - part.start) // step) for part in parts]
    assert max(steps) - min(steps) <= 1


def test_errors_arrive_as_what_they_are_or_the_nearest_kind():
    class Local(OSError):
        pass

    for error, kind in (
        (DataError("a.png: broken"), DataError),
        (OSError(28, "No space left on device"), OSError),
        (SeenClassError("seen", "a.png"), DataError),  # which needs two arguments
        (Local("gone"), OSError),
    ):
        found = sendable(error)
        assert type(found) is kind
        assert str(found) == str(error)


def test_one_rank_leads_nobody():
    assert led(helpers) == led_to(helpers) == 1
    with pytest.raises(ZeroDivisionError):
        led(lambda: 1 / 0)
    assert list(rows_of_ranks(lambda n, part: iter([part] * n), (2,), lambda part: "ab"[part], 2, 1)) == [
        (0, "ab"),
        (2, "ab"),
    ]
