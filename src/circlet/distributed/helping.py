"""Rank 0 leads and the others help: images to embed and neighbours to find are shared out, and all else is as it was.

Within `led` rank 0 does its work as a single process would, files and messages included, and the other ranks wait for
what it asks of them: a function of a module, with arguments that can be pickled, so that they need nothing else, such
as the test images. Where nobody helps (`helpers` is 1), everything here does the plain thing.
"""

import hashlib
import io
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from circlet.distributed.agreement import is_rank_0, patient_group, waiting
from circlet.distributed.collectives import alone, num_ranks, together
from circlet.distributed.sharing import in_rounds, shares
from circlet.terminal import say_once

T = TypeVar("T")
_ROWS, _CALL, _END = "rows", "call", "end"


class _Led:
    """What rank 0 knows of the others: the digest of the last arguments that they have, and what is under way."""

    def __init__(self) -> None:
        self.sent = b""
        self.open: Generator[list[Tensor], None, None] | None = None


_LED: ContextVar[_Led | None] = ContextVar("circlet_led", default=None)


def helpers() -> int:
    """How many ranks share work that is asked of them here, the own one included; 1 outside of `led`."""
    return 1 if _LED.get() is None else dist.get_world_size()


def led(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 while the others help where it asks; its result, pickled, is returned on every rank.

    Where it fails, rank 0 raises the error and the others exit with status 1; so it is with an error of a helper.
    TimeoutError on those that have waited CIRCLET_WAIT_MINUTES for another. Within `on_rank_0`, and with one rank, it
    is `work()`.
    """
    if num_ranks(None) == 1:
        return work()
    if not is_rank_0():
        found: T = _follow()
        return found
    state = _Led()
    token = _LED.set(state)
    try:
        with alone():
            result = work()
        ending = (False, pickle.dumps(result))
    except BaseException as error:
        if isinstance(error, Exception):  # else the process ends at once, and the others notice
            _tell_of_failure(state)
        raise
    finally:
        _LED.reset(token)
    _send(pickle.dumps((_END, ending)))
    return result


def led_to(work: Callable[[], T]) -> T | None:
    """`led` where the others need no result, which may be large: they get None."""
    found: list[T] = []
    led(lambda: found.append(work()))
    return found[0] if found else None


def rows_of_ranks(
    function: Callable[..., Iterator[Tensor]],
    common: tuple[Any, ...],
    part: Callable[[slice], Any],
    count: int,
    step: int,
) -> Generator[tuple[int, Tensor], None, None]:
    """Rows (n, dim) of `count` things, a part of them by each rank, as they come: (number of the first, rows).

    function: of a module: of `common` and of `part(slice)` it gives the rows of these things in blocks, in their order;
    it computes on the rank's own device. step: things that are computed together. For rank 0 within `led`; elsewhere
    all of it is done here. Errors of the other ranks are raised here.
    """
    bounds = shares(count, step, helpers())
    state = _LED.get()
    message = None if state is None or bounds[0] == slice(0, count) else _packed(common)
    if state is None or message is None:
        done = 0
        for block in function(*common, part(slice(0, count))):
            yield done, block
            done += len(block)
        return
    own = _ask(state, _ROWS, function, message, [part(bound) for bound in bounds])
    reached = [bound.start for bound in bounds]
    rounds = state.open = in_rounds(function(*common, own))
    with closing(rounds):
        while parts := _next(rounds):
            for rank, rows in enumerate(parts):
                if len(rows):
                    yield reached[rank], rows
                    reached[rank] += len(rows)
    state.open = None


def _next(rounds: Iterator[list[Tensor]]) -> list[Tensor] | None:
    with _asking():  # and not for as long as the rows are used
        return next(rounds, None)


def all_call(function: Callable[..., T], common: tuple[Any, ...], each: list[Any]) -> T:
    """Call `function(*common, each[rank])` on every rank at once, where it may use collectives; the result of rank 0.

    For rank 0 within `led`. An error on another rank ends that one, and so all.
    """
    state, message = _LED.get(), _packed(common)
    assert state is not None
    if message is None:
        raise ValueError(f"{function.__name__}: found arguments that cannot be pickled, expected some that can")
    own = _ask(state, _CALL, function, message, each)
    with _asking():
        return function(*common, own)


@contextmanager
def _asking() -> Iterator[None]:
    """Within it all ranks are at the same work: collectives are for all, and nothing more is shared out."""
    token = _LED.set(None)
    try:
        with together():
            yield
    finally:
        _LED.reset(token)


def _packed(common: tuple[Any, ...]) -> bytes | None:
    """The arguments as bytes; None, told of, where they are such as cannot be sent: a network of local classes, say."""
    content = io.BytesIO()
    try:
        torch.save(common, content)  # rather than pickle: what lies on a GPU goes to another by way of the CPU
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        say_once(f"rank 0 works alone, since what the other ranks need cannot be sent to them ({error})")
        return None
    return content.getvalue()


def _ask(state: _Led, kind: str, function: Callable[..., Any], common: bytes, each: list[Any]) -> Any:
    """Send every rank its task; the own part of it. Arguments that they have already are not sent again."""
    digest = hashlib.blake2b(common, digest_size=16).digest()
    new = digest != state.sent
    pickle.dumps(each[-1])  # an error before anybody waits for it
    with waiting("broadcast of a task"):
        _send(pickle.dumps((kind, (function, new))))
        if new:
            _send(common)
        state.sent = digest
        for rank in range(1, len(each)):
            dist.send_object_list([each[rank]], rank, group=patient_group())
    return each[0]


def _follow() -> Any:
    """Do what rank 0 asks until it ends; its result."""
    common: tuple[Any, ...] = ()
    while True:
        with waiting("wait for a task of rank 0"):
            kind, content = pickle.loads(_receive())
            if kind == _END:
                failed, result = content
                if failed:
                    raise SystemExit(1)
                return pickle.loads(result)
            function, new = content
            if new:
                common = torch.load(io.BytesIO(_receive()), map_location="cpu", weights_only=False)  # from rank 0
            own: list[Any] = [None]
            dist.recv_object_list(own, 0, group=patient_group())
        found = function(*common, own[0])
        if kind == _ROWS:
            deque(in_rounds(found), maxlen=0)


def _tell_of_failure(state: _Led) -> None:
    """End the others, unless they have gone."""
    with suppress(RuntimeError):
        if state.open is not None:
            state.open.close()
        _send(pickle.dumps((_END, (True, None))))


def _send(content: bytes) -> None:
    group = patient_group()
    dist.broadcast(torch.tensor([len(content)]), 0, group=group)
    dist.broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8), 0, group=group)


def _receive() -> bytes:
    group, size = patient_group(), torch.zeros(1, dtype=torch.int64)
    dist.broadcast(size, 0, group=group)
    content = torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(content, 0, group=group)
    return content.numpy().tobytes()
