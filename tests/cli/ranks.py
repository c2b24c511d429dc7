"""A verb on several ranks, as torchrun starts it, without the start of torchrun and of an interpreter for each."""

import os
import socket

from circlet.cli import main
from tests.forks import Forked


def verb_on_ranks(num_ranks, arguments, seconds=300):
    """What all ranks have printed, one after the other; AssertionError where one of them has failed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    here = {"WORLD_SIZE": num_ranks, "LOCAL_WORLD_SIZE": num_ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [Forked(_rank, rank, here, [str(argument) for argument in arguments]) for rank in range(num_ranks)]
    said = [rank.communicate(seconds) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * num_ranks, said
    return "".join(out for out, _ in said)


def _rank(rank, here, arguments):
    os.environ.update({name: str(value) for name, value in {**here, "RANK": rank, "LOCAL_RANK": rank}.items()})
    return main(arguments)
