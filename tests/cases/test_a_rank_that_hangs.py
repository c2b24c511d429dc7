"""A rank that hangs, and does not die: the others wait for it for as long as somebody would, and then say so."""

import socket

import pytest

from circlet.distributed import on_rank_0
from circlet.distributed.agreement import WAIT, WAIT_MINUTES, wait_minutes
from tests import forks
from tests.cases import hanging_ranks


@pytest.mark.subprocess
@pytest.mark.parametrize("hangs", [0, 1])
def test_a_rank_that_hangs_is_waited_for_no_longer_than_asked(hangs):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    forks.on_ranks(2, hanging_ranks.waits, port, hangs)


def test_the_wait_is_hours_and_no_week(monkeypatch):
    monkeypatch.delenv(WAIT, raising=False)
    assert wait_minutes() == WAIT_MINUTES == 240
    monkeypatch.setenv(WAIT, "90.5")
    assert wait_minutes() == 90.5


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "an hour"])
def test_a_wait_that_is_no_number_of_minutes_is_refused_by_name(text, monkeypatch):
    monkeypatch.setenv(WAIT, text)
    with pytest.raises(ValueError, match=rf"CIRCLET_WAIT_MINUTES: found '{text}', expected minutes"):
        wait_minutes()


def test_one_rank_waits_for_nobody():
    assert on_rank_0(lambda: 3) == 3
