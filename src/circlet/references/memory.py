"""Memory bank: the embeddings of the last batches as further references (cross-batch memory, XBM).

Embeddings drift slowly once training has warmed up, so those of earlier batches are cheap references.
Source: Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020.
"""

from typing import Any

import torch
from torch import Tensor, nn

from circlet.distributed import Group
from circlet.references.checks import allocate, check_labels, check_rows, check_sizes
from circlet.references.ranks import GlobalBatch
from circlet.references.sources import LabelledRows


class MemoryBank(nn.Module):
    """The last `size` embeddings with their labels, first in, first out.

    >>> bank = MemoryBank(size=3, embedding_dim=2)
    >>> bank.update(torch.eye(2), torch.tensor([7, 8]))
    >>> bank.references().labels
    tensor([7, 8])

    First the loss and its backward pass, then `update`: the other way round every anchor would find itself among
    its positives (and backward would miss the rows that `update` has overwritten). The source of the paper's loss is
    [None, bank]: batch and memory. An empty bank is no reference at all, so the first steps need no special case.

    Rows are kept as they come, without gradient, in `dtype` (a half saves memory; losses compute in fp32 anyway) and
    checkpointed in the state dict. Over several ranks `update` is collective: every rank puts the batches of all
    ranks in, in the order of the ranks, so that all banks stay equal.

    size: largest number of rows, >= 1. Raises MemoryError if they do not fit. process_group: default: all ranks.
    """

    embeddings: Tensor
    labels: Tensor

    def __init__(
        self,
        size: int,
        embedding_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        process_group: Group = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_sizes(size=size, embedding_dim=embedding_dim)
        if not dtype.is_floating_point:
            raise ValueError(f"dtype: found {dtype}, expected a floating-point dtype")
        self.process_group = process_group
        self.num_seen = 0
        self.register_buffer("embeddings", allocate("size", size, embedding_dim, dtype, device))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64, device=device))

    def __len__(self) -> int:
        """Number of rows in the bank now."""
        return min(self.num_seen, len(self.labels))

    def references(self) -> LabelledRows:
        """The filled part, in no particular order: embeddings (len(bank), embedding_dim) and labels (len(bank),)."""
        return LabelledRows(self.embeddings[: len(self)], self.labels[: len(self)])

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Put a batch in, (batch, embedding_dim) with integers (batch,), in place of the oldest rows."""
        error = None
        try:
            check_rows("embeddings", embeddings, self.embeddings.shape[1], "the bank")
            check_labels("labels", labels, embeddings, "embeddings")
        except ValueError as found:
            error = found
        batch = GlobalBatch(embeddings, labels, self.process_group, error)
        size = len(self.labels)
        rows, ids = batch.all_embeddings[-size:], batch.all_labels[-size:]
        end = self.num_seen + sum(batch.sizes)
        places = torch.arange(end - len(rows), end, device=self.labels.device) % size
        self.embeddings[places] = rows.to(self.embeddings)
        self.labels[places] = ids.to(self.labels)
        self.num_seen = end

    def get_extra_state(self) -> dict[str, int]:
        """How many rows the bank has seen: from it follow how many it holds and where the next one goes."""
        return {"num_seen": self.num_seen}

    def set_extra_state(self, state: Any) -> None:
        """From a state dict."""
        self.num_seen = state["num_seen"]

    def extra_repr(self) -> str:
        """Sizes, for print(module)."""
        size, dim = self.embeddings.shape
        return f"size={size}, embedding_dim={dim}, dtype={self.embeddings.dtype}"
