"""Training over several ranks against one process with the global batch, going on with other numbers of ranks, and
what happens to all ranks when something goes wrong on one.
"""

import socket
from contextlib import ExitStack

import pytest
import torch

from circlet.training import RunFolder
from tests import forks
from tests.training import on_ranks

DEAD = "rank 0 lost another rank in (the|step 1).*(all-gather|all-reduce|broadcast)"
GOES_WRONG = [
    (on_ranks.diverges, [(FloatingPointError, "nan"), (SystemExit, "1")]),
    (on_ranks.fails_and_dies, [(ConnectionError, DEAD), (SystemExit, "rank 1 dies without a word")]),
]


def run(num_ranks, folder, *works):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in works]
        ports = [free.getsockname()[1] for free in sockets]
    works = [(port, work, ends) for port, (work, ends) in zip(ports, works, strict=True)]
    forks.on_ranks(num_ranks, on_ranks.in_own_process, num_ranks, folder, works)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All cases on one process, then on four ranks and on two, each from the checkpoints of the one before."""
    folder = tmp_path_factory.mktemp("ranks")
    for case in on_ranks.CASES:
        torch.save(on_ranks.train(folder / case, case), folder / f"{case}.pt")
        on_ranks.train(folder / f"{case} from one", case, stop_after=4)
    run(4, folder, (on_ranks.four_ranks, None))
    run(2, folder, (on_ranks.two_ranks, None), *GOES_WRONG)
    return folder


@pytest.mark.subprocess
@pytest.mark.parametrize("case", on_ranks.CASES)
def test_saved_on_four_resumed_on_two_and_on_one(trained, case):
    on_ranks.compare(on_ranks.train(trained / f"{case} from four", case), trained / f"{case}.pt")
    on_ranks.compare(on_ranks.train(trained / f"{case} from one", case), trained / f"{case}.pt")


@pytest.mark.subprocess
def test_the_whole_network_is_validated(trained):
    case = on_ranks.BOTH
    expected = validated(trained / case)
    assert [step for step, _ in expected] == [3, 6, 9]
    for place in (f"{case} on 4", f"{case} on 2", f"{case} from one"):
        assert validated(trained / place) == [(step, pytest.approx(score, abs=1e-9)) for step, score in expected]


def validated(path):
    lines = RunFolder(path).read_metrics()
    return [(line["step"], line["validation_score"]) for line in lines if "validation_score" in line]


@pytest.mark.subprocess
def test_cases_differ(trained):
    """Each setting does something: no two cases end alike."""
    heads = [torch.load(trained / f"{case}.pt")["head.weight"] for case in on_ranks.CASES if "chunk" not in case]
    assert len({tuple(head.flatten().tolist()) for head in heads}) == len(heads)


def test_half_precision_needs_one_rank(monkeypatch):
    from circlet.training import precision

    monkeypatch.setattr(precision, "num_ranks", lambda group: 2)
    with pytest.raises(ValueError, match="precision: found fp16 on several ranks"):
        precision.autocast_dtype("fp16", torch.device("meta"))
