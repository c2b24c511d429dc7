"""The rows that are searched, spread over the ranks: each holds its own, in the order of the ranks, and nobody all.

Queries go round, a block at a time, and every rank compares them with the rows that it has; what it finds is brought
together, a few numbers for each query. Rows change hands once at the start, so that each rank has whole blocks: all
products are then those of one process, and so are ranks and metrics, ties among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from circlet.distributed import Group, helpers, naming_collective, num_ranks, rank_in, shares, timed_group
from circlet.distributed.collectives import agree, all_gather, gather_rows
from circlet.evaluate.neighbours import products

SHARED_PAIRS = 1 << 24  # from so many similarities on, rank 0 has them shared out where others help it


@dataclass(frozen=True, eq=False)
class Place:
    """Which of `total` columns are here, those of `bounds[rank]`, and how what ranks find is brought together.

    With one rank nothing is sent, and everything is as it is given.
    """

    bounds: list[slice]
    rank: int = 0
    group: Group = None

    @property
    def total(self) -> int:
        """All columns."""
        return int(self.bounds[-1].stop)

    @property
    def here(self) -> slice:
        """Those of this rank."""
        return self.bounds[self.rank]

    def most(self, values: Tensor) -> Tensor:
        """The elementwise maximum over the ranks."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def least(self, values: Tensor) -> Tensor:
        """The elementwise minimum over the ranks."""
        return self._reduced(values, dist.ReduceOp.MIN)

    def summed(self, values: Tensor) -> Tensor:
        """The sum over the ranks."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def stacked(self, values: Tensor) -> Tensor:
        """(ranks, ...) of tensors of one shape."""
        if len(self.bounds) == 1:
            return values[None]
        return all_gather(values[None].contiguous(), self.group, "what ranks have found")

    def joined(self, *lists: Tensor) -> list[Tensor]:
        """The lists (n,) of all ranks behind each other; those of one call are of one length on a rank."""
        if len(self.bounds) == 1:
            return list(lists)
        sizes = self.stacked(torch.tensor(len(lists[0]), device=lists[0].device)).tolist()
        return [self._joined(each, sizes) for each in lists]

    def of_all(self, values: Tensor) -> Tensor:
        """One list, as `joined`."""
        return self.joined(values)[0]

    def _joined(self, values: Tensor, sizes: list[int]) -> Tensor:
        sent = values.to(torch.uint8) if values.dtype == torch.bool else values
        return torch.cat(gather_rows(sent, sizes, self.group, "what ranks have found")).to(values.dtype)

    def _reduced(self, values: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if len(self.bounds) == 1:
            return values
        found = values.clone()
        with naming_collective("all-reduce of what ranks have found"):
            dist.all_reduce(found, how, group=self.group)
        return found


def only(total: int) -> Place:
    """All columns here, on a single rank."""
    return Place([slice(0, total)])


@dataclass(frozen=True, eq=False)
class Spread:
    """Rows (total, dim) of which `own` are here, those of `place.here`; whole blocks on each rank."""

    own: Tensor
    place: Place

    def rows(self, chosen: slice) -> Tensor:
        """Some rows that follow each other, on every rank, which all ask for the same ones."""
        if len(self.place.bounds) == 1:
            return self.own[chosen]
        found = self.own.new_empty(chosen.stop - chosen.start, self.own.shape[1])
        for rank, bound in enumerate(self.place.bounds):
            first, stop = max(chosen.start, bound.start), min(chosen.stop, bound.stop)
            if first < stop:
                part = found[first - chosen.start : stop - chosen.start]
                if rank == self.place.rank:
                    part.copy_(self.own[first - bound.start : stop - bound.start])
                with naming_collective("broadcast of queries"):
                    dist.broadcast(part, rank, group=self.place.group)
        return found

    def take(self, chosen: Tensor) -> Tensor:
        """Any rows (m, dim) by their numbers (m,), on every rank."""
        if len(self.place.bounds) == 1:
            return self.own[chosen]
        bound = self.place.here
        found = self.own.new_zeros(len(chosen), self.own.shape[1])
        mine = (chosen >= bound.start) & (chosen < bound.stop)
        found[mine] = self.own[chosen[mine] - bound.start]
        return self.place.summed(found)  # with zeros, which change nothing

    def blocks(self, block_size: int) -> Iterator[tuple[slice, Tensor]]:
        """The rows that are here, a block at a time, with their numbers among all."""
        bound = self.place.here
        for first in range(bound.start, bound.stop, block_size):
            stop = min(first + block_size, bound.stop)
            yield slice(first, stop), self.own[first - bound.start : stop - bound.start]

    def products(self, queries: Tensor, block_size: int) -> Tensor:
        """Similarities (queries, rows that are here), multiplied in blocks of rows as any number of ranks does it."""
        return products(queries, self.own, block_size=block_size)


def spread(rows: Tensor, block_size: int, *, over_ranks: bool, error: ValueError | None = None) -> Spread:
    """Rows that are here, or with `over_ranks` those of all ranks behind each other, each rank with whole blocks.

    error: of this rank's rows: it is raised here, and a ValueError on all others.
    """
    given = held_by_ranks(rows, len(rows) if error is None else 0, over_ranks=over_ranks, error=error)
    if len(given.bounds) == 1:
        return Spread(rows, given)
    place = Place(shares(given.total, block_size, len(given.bounds)), given.rank, given.group)
    if given.bounds != place.bounds:
        rows = _moved(rows, given.bounds, place)
    return Spread(rows.contiguous(), place)


def held_by_ranks(rows: Tensor, number: int, *, over_ranks: bool, error: ValueError | None = None) -> Place:
    """Where things lie of which this rank has a number, such as `rows` tells the kind of, the same on all ranks."""
    if not over_ranks or num_ranks(None) == 1:
        if error is not None:
            raise error
        return only(number)
    if error is not None:
        rows = torch.empty(0, 1, device=rows.device if isinstance(rows, Tensor) else None)
    group = timed_group() if rows.device.type == "cpu" else None
    agree(rows[:1], group, error)
    every = all_gather(torch.tensor([number], device=rows.device), group, "how many each rank has").tolist()
    ends = [0, *accumulate(every)]
    return Place([slice(first, stop) for first, stop in pairwise(ends)], rank_in(None), group)


def worth_sharing(pairs: int) -> bool:
    """Whether rank 0 has ranks that help it, and so many similarities to make."""
    return helpers() > 1 and pairs >= SHARED_PAIRS


def sent(values: Tensor | Sequence[int], part: slice) -> Tensor | Sequence[int]:
    """Some values, to go to another rank without the others."""
    return values[part].clone() if isinstance(values, Tensor) else values[part]


def _moved(rows: Tensor, given: list[slice], place: Place) -> Tensor:
    """The rows that this rank is to have, of those that ranks were given."""
    here, mine = place.here, given[place.rank]
    found, under_way = rows.new_empty(here.stop - here.start, rows.shape[1]), []
    for source, first in enumerate(given):
        for target, wanted in enumerate(place.bounds):
            part = slice(max(first.start, wanted.start), min(first.stop, wanted.stop))
            if part.start >= part.stop or place.rank not in (source, target):
                continue
            out = found[part.start - here.start : part.stop - here.start] if target == place.rank else None
            own = rows[part.start - mine.start : part.stop - mine.start] if source == place.rank else None
            if out is not None and own is not None:
                out.copy_(own)
            elif own is not None:
                under_way.append(dist.P2POp(dist.isend, own.contiguous(), target, place.group))
            elif out is not None:
                under_way.append(dist.P2POp(dist.irecv, out, source, place.group))
    with naming_collective("exchange of rows"):
        for work in dist.batch_isend_irecv(under_way) if under_way else []:
            work.wait()
    return found
