"""Ranks that do not meet: within the time-out, one line that names this host and who did not come."""

import re
import socket

import pytest
import torch
import torch.distributed as dist

from circlet.distributed import process_group
from circlet.distributed.joining import join

CPU = torch.device("cpu")


@pytest.fixture
def as_rank(monkeypatch):
    """Set what torchrun would; gives the port, at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def put(rank, size):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1",
                            "MASTER_PORT": port}.items():  # fmt: skip
            monkeypatch.setenv(name, str(value))
        return port

    return put


def test_a_host_that_cannot_reach_the_first(as_rank):
    port = as_rank(1, 2)
    expected = f"ranks: rank 1 on {re.escape(socket.gethostname())} found no way to 127.0.0.1:{port} within 1 seconds"
    with pytest.raises(ConnectionError, match=expected), process_group(CPU, timeout=1):
        pass
    assert not dist.is_initialized()


def test_ranks_that_do_not_come_are_named(as_rank, monkeypatch):
    port = as_rank(0, 3)
    with pytest.raises(ConnectionError, match=f"found too few ranks at 127.0.0.1:{port} within 1 seconds"):
        join(CPU, timeout=1)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")  # that of torchrun, which is there before the ranks
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    store.set("circlet host of rank 2", "host-c")
    with pytest.raises(ConnectionError, match=r"ranks: rank 0 on .* rank 1 did not come within 1 seconds") as found:
        join(CPU, timeout=1)
    assert "\n" not in str(found.value)
    store.set("circlet host of rank 1", "host-c")
    with pytest.raises(ConnectionError, match=r"cannot reach one of host-c \(rank 1, 2\) within 1 seconds"):
        join(CPU, timeout=1)
