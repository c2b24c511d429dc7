r"""Ranks: one loss over the batches of all ranks, exactly that of one process with the global batch.

Every pair (anchor, reference) is met on exactly one rank. A rank's log-sum-exps, -inf where it met no pair of an
anchor, therefore merge over ranks as they do over sources:

    lse_a = log sum_r e^(lse_a on rank r)          for all anchors a of the global batch, on every rank

so that every rank computes the whole loss, mean over the global number of valid anchors included, from 2 numbers per
anchor. Its gradient G_a = dL/d lse_a is then known everywhere without communication, and so is the gradient of a
rank's own embeddings by pair-wise labels, in which each of its pairs counts both ways (see `similarity.across`):

    dL/dx_i by pair-wise labels                             local
    dL/dx_i by class weights = sum over shards              one reduce-scatter
    dL/dW_shard                                             local

DDP averages gradients over ranks, so those of everything that all ranks hold (embeddings, plain references) are
multiplied by their number; neither the loss nor a shard is. Communication per loss: all-gather of the embeddings,
labels and 2 numbers per anchor and source. The maximum (triplet loss) and a rule with learnt numbers take the way of
the class weights by pair-wise labels too.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as nnf
from torch import Tensor

from circlet.distributed.collectives import Group, agree, all_gather, gather_rows, num_ranks, rank_in
from circlet.similarity import PairLse, Pairs, Rule, Statistic, is_transformed, pair_lse, union
from circlet.similarity.across import RankRows, own_gradient, own_lse
from circlet.similarity.operators import first_order, refuse_batched
from circlet.similarity.rows import compute_dtype


class GlobalBatch:
    """The batch of this rank within those of all ranks. Creating one is collective, and may raise on all ranks.

    embeddings: (batch, dim) and labels: (batch,) of this rank; batches may differ in size and be empty.
    error: what this rank already found wrong, to be raised once the other ranks know of it. A transform of torch.func
        and forward-mode differentiation are, over several ranks: what the ranks send each other knows of neither.
    against_itself: its embeddings are references too (`AllRanks`).
    """

    def __init__(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        group: Group,
        error: ValueError | None = None,
        *,
        against_itself: bool = False,
    ) -> None:
        self.group, self.rank, self.against_itself = group, rank_in(group), against_itself
        if error is None and is_transformed() and num_ranks(group) > 1:
            error = ValueError("references: found a source over several ranks under forward-mode differentiation or a "
                               "transform of torch.func, expected backward() or torch.autograd.grad")  # fmt: skip
        self.sizes = agree(embeddings, group, error)
        assert labels is not None
        self.embeddings = self.replicated(embeddings)
        self.labels = labels.long()
        self.embeddings_of = gather_rows(self.embeddings, self.sizes, group, "embeddings")
        self.labels_of = gather_rows(self.labels, self.sizes, group, "labels")

    def agree(self, error: ValueError | None) -> None:
        """Raise what this rank has found wrong; then the others raise a ValueError too. Collective."""
        agree(self.embeddings, self.group, error)

    @property
    def all_embeddings(self) -> Tensor:
        """(global batch, dim) of all ranks in order."""
        return torch.cat(self.embeddings_of)

    @property
    def all_labels(self) -> Tensor:
        """(global batch,) of all ranks in order."""
        return torch.cat(self.labels_of)

    def replicated(self, rows: Tensor) -> Tensor:
        """`rows`, their gradient multiplied by the number of ranks, over which DDP will average it."""
        if len(self.sizes) == 1:
            return rows
        out: Tensor = _Times.apply(rows, len(self.sizes))  # type: ignore[no-untyped-call]
        return out

    def lse(self, sources: list[Pairs], rule: Rule, *, normalize: bool, statistic: Statistic) -> PairLse:
        """Statistic of all pairs of all ranks, for the global batch and the same on every rank.

        sources: disjoint sets of pairs that this rank meets, each of its own or of all anchors.
        """
        by_all: list[Tensor] = []
        if self.against_itself and len(self.sizes) > 1 and statistic == "logsumexp" and rule.is_constant:
            lse: Tensor = _Across.apply(self.embeddings, self, rule, normalize)  # type: ignore[no-untyped-call]
            by_all.append(lse.to(compute_dtype(self.embeddings)))
        elif self.against_itself:
            sources = [*sources, *self.pairs_within()]
        parts = [pair_lse(pairs, rule, normalize=normalize, statistic=statistic) for pairs in sources]
        return self.merged(parts, statistic, by_all)

    def merged(self, parts: list[PairLse], statistic: Statistic, by_all: Sequence[Tensor] = ()) -> PairLse:
        """Statistic of the pairs of all ranks, from this rank's parts, each of its own or of all anchors.

        by_all: (2, global batch) parts that all ranks have already.
        """
        return PairLse(*union(torch.stack([*self._of_ranks(parts, statistic), *by_all]), statistic))

    def of_others(self, parts: Sequence[Tensor], dim: int = 0) -> Tensor:
        """One tensor of the parts of the other ranks."""
        return torch.cat([part for rank, part in enumerate(parts) if rank != self.rank], dim)

    def pairs_within(self) -> list[Pairs]:
        """The own anchors against each other, and against the embeddings of the other ranks."""
        within = Pairs(self.embeddings, None, self.labels, None)
        if len(self.sizes) == 1:
            return [within]
        return [
            within,
            Pairs(self.embeddings, self.of_others(self.embeddings_of), self.labels, self.of_others(self.labels_of)),
        ]

    def _of_ranks(self, parts: list[PairLse], statistic: Statistic) -> list[Tensor]:
        """What each rank has found, (2, global batch), -inf where it met no pair."""
        if not parts:
            return []
        before, total = sum(self.sizes[: self.rank]), sum(self.sizes)
        met = []
        for part in map(torch.stack, parts):
            missing = total - part.shape[1]  # none: a part for all anchors
            first = before if missing else 0
            met.append(nnf.pad(part, (first, missing - first), value=-torch.inf))
        own = union(torch.stack(met), statistic)
        if len(self.sizes) == 1:
            return [own]
        of_ranks = list(all_gather(own, self.group, "log-sum-exps").view(-1, 2, total))
        of_ranks[self.rank] = own  # The other ranks differentiate their own.
        return of_ranks

    def own_rows(self, per_anchor: Tensor) -> Tensor:
        """Of one value per anchor of the global batch those of this rank; the gradient is gathered from all ranks."""
        if len(self.sizes) == 1:
            return per_anchor
        out: Tensor = _OwnRows.apply(per_anchor, self)  # type: ignore[no-untyped-call]
        return out

    def of_all(self, own: Tensor) -> Tensor:
        """The values (rows, ...) of the anchors of all ranks, in order; gradients flow to the own ones alone.

        For losses that each rank has found wholly for its own anchors. Ranks may have different numbers of them.
        """
        if len(self.sizes) == 1:
            return own
        sizes = all_gather(torch.tensor([len(own)], device=own.device), self.group, "number of anchors").tolist()
        parts = gather_rows(own.detach(), sizes, self.group, "losses of the anchors")
        parts[self.rank] = own
        return torch.cat(parts)


@runtime_checkable
class SpreadSource(Protocol):
    """A source of which each rank holds a part. The loss is then one over the batches of all ranks."""

    process_group: Group

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """ValueError if the batch of this rank does not fit."""

    def pairs(self, batch: GlobalBatch) -> list[Pairs]:
        """The pairs that this rank meets, with its own or with all anchors; no pair on two ranks."""


class AllRanks:
    """Source: the embeddings of all ranks, each anchor's own excluded; pair-wise labels over the global batch.

    >>> import circlet
    >>> embeddings, labels = torch.eye(4).repeat(2, 1), torch.arange(8) // 2
    >>> circlet.CircleLoss()(embeddings, labels, circlet.AllRanks())
    tensor(480.)
    >>> circlet.CircleLoss()(embeddings, labels)
    tensor(480.)

    On every rank call `loss(embeddings, labels, AllRanks())` and backward. Loss and gradients are those of one process
    with the batches of all ranks together: "mean" is over the valid anchors of all ranks, "none" gives the losses of
    the own anchors (and gradients of the sum of whatever each rank makes of its losses). Batches may differ in size
    and be empty, as long as they come from the model. The parameters' gradients must be averaged over ranks, as
    DistributedDataParallel and FSDP do. In a list, None beside this source, which includes the own batch, is refused;
    plain sources in the list are compared with the own anchors.

    process_group: default: all ranks. Without a process group or with one rank this is the batch itself.
    Bad input on one rank, or another dim, dtype or requires_grad than on the other ranks, is a ValueError on all.
    Similarities that are exactly equal share the gradient of a maximum (triplet loss) rank by rank.
    """

    def __init__(self, process_group: Group = None) -> None:
        self.process_group = process_group

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Nothing of its own to check."""

    def pairs(self, batch: GlobalBatch) -> list[Pairs]:
        """None of its own: `GlobalBatch.lse` meets them."""
        return []


class _Across(torch.autograd.Function):
    """Log-sum-exps (2, global batch) in fp64 of the global batch against itself; its gradient needs no other rank."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, batch: GlobalBatch, rule: Rule, normalize: bool) -> Tensor:
        others, other_labels = batch.of_others(batch.embeddings_of).detach(), batch.of_others(batch.labels_of)
        own, ctx.kept = own_lse(RankRows(embeddings, batch.labels, others, other_labels, rule, normalize))
        lse = torch.cat(gather_rows(own.T, batch.sizes, batch.group, "log-sum-exps")).T
        ctx.batch, ctx.rule, ctx.normalize = batch, rule, normalize
        ctx.save_for_backward(embeddings, others, other_labels, lse)
        return lse

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
        embeddings, others, other_labels, lse = ctx.saved_tensors
        refuse_batched(grads)
        batch = ctx.batch
        rank_rows = RankRows(embeddings, batch.labels, others, other_labels, ctx.rule, ctx.normalize)
        of_own, of_others = [], []
        for per_row in (lse, grads):
            parts = per_row.split(batch.sizes, 1)
            of_own.append(parts[batch.rank])
            of_others.append(batch.of_others(parts, 1))
        with torch.no_grad():
            grad = own_gradient(rank_rows, ctx.kept, *of_own, *of_others)
        return first_order(grad, embeddings), None, None, None


class _Times(torch.autograd.Function):
    """Identity whose gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, number: int) -> Tensor:
        ctx.number = number
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.number, None


class _OwnRows(torch.autograd.Function):
    """Rows of this rank; backward all ranks learn the gradients of all rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, batch: GlobalBatch) -> Tensor:
        ctx.batch = batch
        own: Tensor = rows.split(batch.sizes)[batch.rank]
        return own.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        batch = ctx.batch
        return torch.cat(gather_rows(grad, batch.sizes, batch.group, "gradient of the losses")), None
