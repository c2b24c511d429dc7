"""Rank 0 leads and the others help: rows and metrics are those of one process, and what goes wrong does so once."""

import socket

import pytest

from tests import forks
from tests.distributed import helping_ranks
from tests.index.tiny import photos
from tests.training.on_ranks import in_own_process


@pytest.mark.subprocess
@pytest.mark.parametrize(("num_ranks", "work"), [(2, "all_of_it"), (4, "metrics_and_rows")])
def test_ranks_that_help(num_ranks, work, tmp_path):
    photos(tmp_path / "photos", classes=9, each=5)
    photos(tmp_path / "broken", classes=9, each=5)
    (tmp_path / "broken" / "class 8" / "z.png").write_bytes(b"none")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    forks.on_ranks(num_ranks, in_own_process, num_ranks, tmp_path, [(port, getattr(helping_ranks, work), None)])
