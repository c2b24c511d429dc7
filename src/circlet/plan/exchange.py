"""What ranks send each other in a step: bytes and collectives, as functions of the number of ranks.

Legend: R ranks, B images of all of them in a step, b = B / R, D dim, P weights of the network, e bytes of a number.
Bytes are those that a rank sends, by rings, as NCCL and gloo do it:

    all-gather       (R - 1) n            n: bytes that a rank brings
    reduce-scatter   (R - 1) n            n: bytes that a rank gets
    all-reduce       2 (R - 1) / R n      n: bytes of the whole

gloo has no reduce-scatter of its own: torch does an all-reduce of the whole there, 2 (R - 1) n.
"""

from typing import NamedTuple

from circlet.plan.network import Network
from circlet.plan.scale import Scale

BUCKET, FIRST_BUCKET = 25 * 2**20, 2**20  # of gradients that DistributedDataParallel sends at once
_SHAPES = 5 * 8  # what ranks tell each other of their batches: five integers


class Traffic(NamedTuple):
    """Bytes that a rank sends in a step, and collectives that it takes part in."""

    sent: float = 0.0
    messages: int = 0

    def __add__(self, other: object) -> "Traffic":
        assert isinstance(other, Traffic)
        return Traffic(self.sent + other.sent, self.messages + other.messages)


def all_gather(scale: Scale, num_bytes: float) -> Traffic:
    """Of `num_bytes` that each rank brings."""
    return Traffic((scale.ranks - 1) * num_bytes, 1)


def all_reduce(scale: Scale, num_bytes: float, messages: int = 1) -> Traffic:
    """Of `num_bytes` in all."""
    return Traffic(2 * (scale.ranks - 1) / scale.ranks * num_bytes, messages)


def reduce_scatter(scale: Scale, num_bytes: float) -> Traffic:
    """Of `num_bytes` that each rank gets."""
    return Traffic((1 if scale.on_gpu else 2) * (scale.ranks - 1) * num_bytes, 1)


def of_batch(scale: Scale) -> Traffic:
    """Shapes, embeddings (e D a row) and labels (8 a row) of all ranks: what every loss over ranks begins with."""
    rows = scale.own_batch
    embeddings = all_gather(scale, rows * scale.dim * embedding_bytes(scale))
    return all_gather(scale, _SHAPES) + embeddings + all_gather(scale, 8 * rows)


def of_loss(scale: Scale) -> Traffic:
    """The batch; log-sum-exps, 16 b for pairs within the batch and 8 B for all others; with class weights the gradient.

    Nothing where there is one rank.
    """
    if scale.ranks == 1:
        return Traffic()
    found = of_batch(scale)
    if scale.level != "class":
        found += all_gather(scale, 16 * scale.own_batch)
    if scale.level != "pair" or scale.memory:
        found += all_gather(scale, 8 * scale.batch)
    if scale.level != "pair":
        found += reduce_scatter(scale, scale.own_batch * scale.dim * embedding_bytes(scale))
    return found


def of_memory(scale: Scale) -> Traffic:
    """The batch once more, for the memory bank."""
    return of_batch(scale) if scale.memory and scale.ranks > 1 else Traffic()


def of_gradients(scale: Scale, network: Network) -> Traffic:
    """All-reduce of the network's gradients, 4 P; broadcast of its buffers.

    fsdp: in place of it all-gathers of the weights in both passes and a reduce-scatter of the gradients, 4 P each.
    """
    if scale.ranks == 1 or not network.weights:
        return Traffic()
    whole = 4 * network.weights
    if scale.fsdp:
        one = whole / scale.ranks
        both = [all_gather(scale, 2 * one), reduce_scatter(scale, one)]
        return Traffic(sum(each.sent for each in both), 3 * network.units)
    buckets = 1 + max(0, -(-(whole - FIRST_BUCKET) // BUCKET))
    found = all_reduce(scale, whole, buckets)
    if network.buffers:
        found += Traffic((scale.ranks - 1) / scale.ranks * network.buffers, 1)
    return found


def of_agreement(scale: Scale) -> Traffic:
    """Whether to stop, 8 bytes; with class weights the norm of their gradient, 4 bytes."""
    if scale.ranks == 1:
        return Traffic()
    found = all_reduce(scale, 8)
    return found if scale.level == "pair" else found + all_reduce(scale, 4)


def embedding_bytes(scale: Scale) -> int:
    """e: of a number of an embedding as the network gives it."""
    return 2 if scale.half else 4
