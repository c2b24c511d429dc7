"""Gradient clipping that takes plain parameters and parameters sharded over ranks (DTensor) together.

torch.nn.utils.clip_grad_norm_ refuses the mixture.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import get_total_norm

from circlet.distributed import naming_collective
from circlet.training.shards import is_sharded, own_part


@torch.no_grad()
def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients so that their joint norm is at most `max_norm`; gives the norm before, on every rank.

    >>> weight = torch.zeros(2, requires_grad=True)
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> float(clip_grad_norm_([weight], max_norm=1.0))
    5.0

    As torch.nn.utils.clip_grad_norm_ (2-norm). Plain parameters count once, as their gradients are the same on every
    rank; sharded ones, which all are over the same ranks, with all their shards. With one of them it is collective.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    plain = [grad for grad in grads if not is_sharded(grad)]
    sharded = [grad for grad in grads if is_sharded(grad)]
    norms = [get_total_norm(plain)] if plain else []
    if sharded:
        square = get_total_norm(map(own_part, sharded)).square()
        with naming_collective("all-reduce of the norm of the sharded gradients"):
            dist.all_reduce(square, group=sharded[0].device_mesh.get_group())  # type: ignore[attr-defined]
        norms.append(square.sqrt())
    if not norms:
        return torch.zeros(())
    total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack([n.to(norms[0]) for n in norms]))
    factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for grad in map(own_part, grads):
        grad.mul_(factor.to(grad))
    return total
