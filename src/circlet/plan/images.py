"""Memory and time of the images: their list, their decoding, the batch; of the network that sees them.

Legend: N images, b of one rank in a step, h w their size, k channels, P weights, m moments; of an image a bytes of
activations and f operations of a forward pass.
"""

from circlet.plan import exchange
from circlet.plan.losses import update_scratch
from circlet.plan.network import Network
from circlet.plan.part import Part
from circlet.plan.rates import Rates
from circlet.plan.scale import MOMENTS, Scale

# Of an image in the lists of a process, beside the letters of its name: the text's head (49), its place in two lists
# (16), label (8), place and order of the sampler (16), and a tenth of what a class takes (22).
LISTED_BYTES = 49 + 16 + 8 + 16 + 22
AHEAD = 2  # batches that each worker has ready
_CPU_BUFFERS = 20 * 2**20  # of convolutions, beyond the activations: benchmarks/results/plan.md


def listed(scale: Scale) -> Part:
    """Names, labels and the order of the images, on every rank: 111 bytes and the name's own for each of N."""
    num_bytes = 0.0 if scale.streamed else scale.images * (LISTED_BYTES + scale.name_bytes)
    return _of_machine(scale, "list of images", num_bytes)


def decoded(scale: Scale, rates: Rates) -> Part:
    """Decoding by the workers while the network has the batch before; batches in the machine's memory, k h w each.

    All N images are kept, on every rank, where they are decoded once.
    """
    image = float(scale.channels * scale.size[0] * scale.size[1])
    kept = scale.images * image if scale.in_memory else image * scale.own_batch * (1 + AHEAD * scale.workers)
    if scale.in_memory:
        seconds: float | None = 0.0
    else:
        seconds = None if rates.decode is None else scale.own_batch / (max(scale.workers, 1) * rates.decode.value)
    part = _of_machine(scale, "decoding", kept)
    return Part(part.name, held=part.held, host=part.host, seconds=seconds, overlaps=scale.workers > 0)


def weights(scale: Scale, network: Network, rates: Rates) -> Part:
    """The network with gradient and moments, 4 P (2 + m), and 4 P of buckets over several ranks; moved once a step.

    fsdp: 4 P (2 + m) / R, and in the passes two blocks whole, with the gradient of one.
    """
    shares = scale.ranks if scale.fsdp else 1
    one = 4.0 * network.weights / shares
    buckets = one if scale.ranks > 1 and not scale.fsdp else 0.0
    scratch = update_scratch(scale, one if scale.on_gpu else 4.0 * network.largest / shares)
    seconds = None if rates.update is None else network.weights / shares / rates.update.value
    held = one * (1 + MOMENTS[scale.optimizer]) + network.buffers + buckets
    passes = network.activations(scale).gradients / shares + (3 * 4.0 * network.block if scale.fsdp else 0.0)
    return Part("network and optimiser", held=held, passes=passes, update=one + scratch, seconds=seconds)


def passes(scale: Scale, network: Network, rates: Rates) -> Part:
    """Forward and backward: a for each image at a time, 3 f; the batch, 5 k h w each; on a CPU 20 MiB of buffers.

    With a gradient cache f more, and f for activations that are computed again.
    """
    image = 5.0 * scale.channels * scale.size[0] * scale.size[1]
    activations = network.activations(scale)
    taken = activations.image * scale.at_once + activations.fixed
    taken += image * scale.own_batch + (0.0 if scale.on_gpu else min(_CPU_BUFFERS, taken))
    passes = 3 + (scale.at_once < scale.own_batch) + scale.grad_checkpointing
    operations = passes * network.flops * scale.own_batch
    seconds = None if rates.network is None else operations / rates.network.value
    return Part("network: forward, backward", passes=taken, seconds=seconds)


def gradients(scale: Scale, network: Network) -> Part:
    """What ranks send each other of the network: gradients and buffers; under fsdp its weights too."""
    found = exchange.of_gradients(scale, network)
    return Part("network: between ranks", sent=found.sent, messages=found.messages)


def _of_machine(scale: Scale, name: str, num_bytes: float) -> Part:
    return Part(name, host=num_bytes) if scale.on_gpu else Part(name, held=num_bytes)
