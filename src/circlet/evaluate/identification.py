"""Identification among distractors: a person is to be found in a crowd of a million others (MegaFace, challenge 1).

Distractors are read in blocks, so they may lie in a file on disk (`numpy.memmap`). Galleries with cameras are in
`circlet.evaluate.reid`, those without in `circlet.evaluate.retrieval`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circlet.distributed import all_call, helpers, shares
from circlet.evaluate.checks import check_fractions, checked_embeddings, checked_labels, unit_rows
from circlet.evaluate.neighbours import row_blocks
from circlet.evaluate.spread import held_by_ranks, worth_sharing
from circlet.vectors.best import Best

__all__ = ["IdentificationMetrics", "identification"]


@dataclass(frozen=True)
class IdentificationMetrics:
    """What `identification` found, as fractions in [0, 1].

    rank_accuracy: {N: rank-N identification rate}.
    tar_at_far: {FAR: TAR}.
    num_pairs: ordered pairs of two photos of one person, over which the rates are taken.
    """

    rank_accuracy: dict[int, float]
    tar_at_far: dict[float, float]
    num_pairs: int


@torch.no_grad()
def identification(
    probes: Tensor,
    probe_ids: Tensor | Sequence[int],
    distractors: Tensor | npt.NDArray[np.floating],
    *,
    ranks: Sequence[int] = (1, 10),
    fars: Sequence[float] = (1e-6,),
    block_size: int = 4096,
    over_ranks: bool = False,
) -> IdentificationMetrics:
    """Rank-N identification and verification of probes against distractors.

    >>> probes = torch.tensor([[1.0, 0.0], [0.9, 0.3], [0.0, 1.0]])
    >>> distractors = torch.tensor([[0.9, 0.1], [-1.0, 0.5]])
    >>> identification(probes, [4, 4, 5], distractors, ranks=(1, 2), fars=(0.5,))
    IdentificationMetrics(rank_accuracy={1: 0.0, 2: 1.0}, tar_at_far={0.5: 1.0}, num_pairs=2)

    For every ordered pair (g, p) of two probes of one id, g alone joins the distractors: a success at rank N if its
    score with p (cosine similarity) is at least the N-th highest of the distractors with p. Ties count as success.
    Persons with many photos weigh more, those with one add nothing (Kemelmacher-Shlizerman et al., "The MegaFace
    Benchmark", CVPR 2016; as in FaceX-Zoo).

    TAR@FAR: the share of these pairs that score above a threshold, the lowest one that no more than FAR of the
    (probe, distractor) pairs exceed.

    probes: (n, dim), any float dtype and device; normalised inside, in float32 (float64 for float64).
    probe_ids: (n,) integers.
    distractors: (m, dim), a tensor or array of floats, such as a `numpy.memmap`; moved block by block to the device
        and dtype of the probes.
    ranks: the N, each from 1 to m.
    fars: false accept rates in (0, 1]; FAR n m scores are kept for them.
    block_size: distractors in a block; decides memory and speed, not the result.
    over_ranks: the distractors are this rank's own, perhaps none, and the probes the same on all ranks; the metrics are
        those of all distractors. They stay where they are: parts of whole blocks give the very products of one process.

    Raises ValueError: a wrong shape or dtype, an embedding that is not finite, a rank or FAR out of range; and without
        two probes of one id, since there is nothing to measure.

    Extra memory: O(n (block_size + max(ranks)) + max(fars) n m).
    """
    check_fractions("fars", fars)
    if block_size < 1:
        raise ValueError(f"block_size: found {block_size}, expected at least 1")
    try:
        ids = _checked(probes, probe_ids, distractors, may_be_empty=over_ranks)
    except ValueError as error:
        held_by_ranks(probes, 0, over_ranks=over_ranks, error=error)
        raise
    if not over_ranks and worth_sharing(len(probes) * len(distractors)):
        common = probes, ids, tuple(ranks), tuple(fars), block_size
        bounds = shares(len(distractors), block_size, helpers())
        return all_call(_of_part, common, [_array(distractors[bound]) for bound in bounds])
    photos = unit_rows(probes)
    place = held_by_ranks(photos, len(distractors), over_ranks=over_ranks)
    for N in ranks:
        if int(N) != N or not 1 <= N <= place.total:
            raise ValueError(f"ranks: found {N}, expected integers from 1 to {place.total}, the distractors")
    allowed = {far: _num_allowed(far, len(photos) * place.total) for far in fars}
    highest = _Highest(max(allowed.values(), default=0) + 1, kept=photos.new_empty(0))
    best = Best.empty(photos, max(map(int, ranks), default=1))
    with torch.autocast(photos.device.type, enabled=False):
        for start, block in _unit_blocks(distractors, photos, block_size):
            tile = photos @ block.T
            best.update(tile, start)
            highest.update(tile)
        person, score = _genuine(photos, ids, block_size)
    impostors = place.joined(highest.kept)[0].sort(descending=True).values
    nearest = place.stacked(best.values).transpose(0, 1).flatten(1).sort(dim=1, descending=True).values
    thresholds = {far: impostors[num] if num < len(impostors) else -torch.inf for far, num in allowed.items()}
    return IdentificationMetrics(
        rank_accuracy={int(N): _mean(score >= nearest[person, int(N) - 1]) for N in ranks},
        tar_at_far={far: _mean(score > threshold) for far, threshold in thresholds.items()},
        num_pairs=len(score),
    )


def _checked(probes: Tensor, probe_ids: Tensor | Sequence[int], distractors: Any, *, may_be_empty: bool) -> Tensor:
    """The ids, int64 on the device of the probes."""
    ids = checked_labels("probe_ids", probe_ids, checked_embeddings("probes", probes))
    if not isinstance(distractors, Tensor | np.ndarray):
        raise ValueError(f"distractors: found {type(distractors).__name__}, expected a tensor or an array")
    fewest = 0 if may_be_empty else 1
    if distractors.ndim != 2 or len(distractors) < fewest or distractors.shape[1] != probes.shape[1]:
        raise ValueError(f"distractors: found shape {tuple(distractors.shape)}, expected (m, {probes.shape[1]}), m > 0")
    num_ids = len(ids.unique())
    if num_ids == len(ids):
        raise ValueError(f"probe_ids: found {num_ids} ids of one probe each, expected two probes of one id at least")
    return ids


def _array(distractors: Any) -> npt.NDArray[np.floating]:
    """The same memory, of which these rows alone go to another rank."""
    if not isinstance(distractors, Tensor):
        return np.asarray(distractors)
    plain = distractors.float() if distractors.dtype == torch.bfloat16 else distractors
    return plain.detach().cpu().numpy()


def _of_part(
    probes: Tensor, ids: Tensor, ranks: tuple[int, ...], fars: tuple[float, ...], block_size: int, distractors: Any
) -> IdentificationMetrics:
    return identification(probes, ids, distractors, ranks=ranks, fars=fars, block_size=block_size, over_ranks=True)


def _unit_blocks(
    distractors: Tensor | npt.NDArray[np.floating], like: Tensor, block_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, unit rows), in the dtype and on the device of `like`."""
    for start in range(0, len(distractors), block_size):
        rows = distractors[start : start + block_size]
        block = rows if isinstance(rows, Tensor) else torch.tensor(np.asarray(rows))  # a copy: files may be read-only
        yield start, unit_rows(checked_embeddings("distractors", block, first_row=start).to(like))


def _genuine(photos: Tensor, ids: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """(probe, score) of every ordered pair of two photos of one person."""
    probes, scores = [], []
    for rows in row_blocks(len(photos), len(photos), block_size):
        same = ids[rows, None] == ids
        same.diagonal(rows.start).fill_(False)
        probe, other = same.nonzero(as_tuple=True)
        probes.append(probe + rows.start)
        scores.append((photos[rows] @ photos.T)[probe, other])
    return torch.cat(probes), torch.cat(scores)


@dataclass
class _Highest:
    """The `num` highest of all scores seen, in any order."""

    num: int
    kept: Tensor

    def update(self, tile: Tensor) -> None:
        new = tile.flatten() if len(self.kept) < self.num else tile[tile > self.kept.min()]
        self.kept = torch.cat([self.kept, new])
        if len(self.kept) > self.num:
            self.kept = self.kept.topk(self.num, sorted=False).values


def _num_allowed(far: float, num_scores: int) -> int:
    """The largest number of `num_scores` that is no more than the share `far` of them."""
    nearest = round(far * num_scores)
    return nearest if nearest / num_scores <= far else nearest - 1


def _mean(successes: Tensor) -> float:
    return successes.double().mean().item()
