"""Memory and time of the loss: pairs within the batch, class weights with their optimiser, memory bank.

Legend: B images of all ranks, b = B / R of one, C classes, c = C / R of one (s c are met), D dim, M rows of the bank,
m moments of the optimiser. u is what one product of all rows with all references costs, 2 rows references D.
"""

from circlet.plan import exchange
from circlet.plan.part import Part
from circlet.plan.rates import Rates
from circlet.plan.scale import MOMENTS, Scale
from circlet.similarity.blocks import BLOCK, Tiling, cpu_tiling

GPU_SCRATCH = 200 * 2**20  # benchmarks/results/gpu.md: beyond operands and gradients, at a million classes
_CPU_SCRATCH = 4 * (3 * BLOCK + Tiling().height * Tiling().width)
_KEPT = Tiling().keep_bytes


def pairs(scale: Scale, rates: Rates) -> Part:
    """Every image of the batch against all others: log-sum-exps of all, gradients of the own rows.

    Within the own rows u = 2 b b D and half of it is symmetric: 2 u in both passes, less what is kept on a CPU; against
    those of other ranks u = 2 b (B - b) D, 3 u. Memory: rows in unit length, gradient, sorted rows, 4 b D each;
    the rows of all ranks as they came and in one piece, 4 B D each; tiles, and those that are kept.
    """
    if scale.level == "class":
        return Part("loss: pairs of the batch")
    rows = 4.0 * scale.own_batch * scale.dim
    others = 0.0 if scale.ranks == 1 else 4.0 * scale.batch * scale.dim * 2
    seconds = None if rates.pairs is None else pair_operations(scale) / rates.pairs.value
    passes = 3 * rows + others + _scratch(scale) + sum(_kept_pairs(scale))
    return Part("loss: pairs of the batch", passes=passes, seconds=seconds)


def pair_operations(scale: Scale) -> float:
    """Operations of the pairs of the batch, on one rank, in both passes.

    >>> pair_operations(Scale(batch=1024, dim=512)) == 2 * (2 * 1024 * 1024 * 512)
    True
    """
    own, others = float(scale.own_batch), float(scale.batch - scale.own_batch)
    within, across = 2 * own * own * scale.dim, 2 * own * others * scale.dim
    kept, kept_across = _kept_pairs(scale)
    # A similarity kept, of 4 bytes, saves its 2 D operations.
    return 2 * within + 3 * across - (kept + kept_across) / 4 * 2 * scale.dim


def _kept_pairs(scale: Scale) -> tuple[float, float]:
    """Bytes of similarities that the forward pass keeps: of the own rows with each other, half, and with all others."""
    own, others = float(scale.own_batch), float(scale.batch - scale.own_batch)
    return (0.0, 0.0) if scale.on_gpu else (min(_KEPT, 2 * own * own), min(_KEPT, 4 * own * others))


def classes(scale: Scale, rates: Rates) -> list[Part]:
    """Class weights with gradient and moments, 4 c D (2 + m); and what a step takes to meet them.

    u = 2 B s c D; 4 u in both passes, less the share of similarities that is kept on a CPU. With a sample, its rows
    and their gradient, 8 s c D.
    """
    if scale.level == "pair":
        return []
    weights = 4.0 * scale.own_classes * scale.dim
    sampled = 8.0 * scale.met_classes * scale.dim if scale.sample < 1 else 0.0
    rows = (4.0 if scale.ranks == 1 else 6.0) * 4 * scale.batch * scale.dim
    seconds = None if rates.classes is None else class_operations(scale) / rates.classes.value
    moved = None if rates.update is None else scale.own_classes * scale.dim / rates.update.value
    held = weights * (1 + MOMENTS[scale.optimizer])
    return [
        Part("class weights and optimiser", held=held, passes=weights + sampled, seconds=moved,
             update=weights + update_scratch(scale, weights)),
        Part("loss: class weights", passes=rows + _scratch(scale) + _references(scale), seconds=seconds),
    ]  # fmt: skip


def class_operations(scale: Scale) -> float:
    """Operations with class weights, on one rank, in both passes.

    >>> class_operations(Scale(batch=512, classes=1e5, dim=512)) == 4 * (2 * 512 * 1e5 * 512)
    True
    """
    pairs_met = float(scale.batch) * scale.met_classes
    kept = kept_tiles(scale) / (4 * pairs_met) if pairs_met else 0.0
    return (4 - kept) * 2 * pairs_met * scale.dim


def kept_tiles(scale: Scale) -> float:
    """Bytes of similarities that the forward pass leaves to the backward pass, in the memory of the gradient."""
    return 0.0 if scale.on_gpu else 4.0 * scale.met_classes * min(scale.batch, scale.dim)


def update_scratch(scale: Scale, largest: float) -> float:
    """Bytes that the optimiser takes for a moment: two tensors as large as the weights on a CPU, one on a GPU.

    On a CPU weights are moved one tensor after the other, and `largest` is the largest of them; on a GPU all at once.
    """
    return largest if scale.on_gpu else 2 * largest


def memory_bank(scale: Scale) -> Part:
    """M rows of the last batches, 4 M D + 8 M, on every rank."""
    traffic = exchange.of_memory(scale)
    return Part("memory bank", held=scale.memory * (4.0 * scale.dim + 8), sent=traffic.sent, messages=traffic.messages)


def _references(scale: Scale) -> float:
    """Bytes of the class weights of a tile in unit length."""
    width = min(cpu_tiling(scale.batch, scale.dim).width, scale.met_classes)
    return 0.0 if scale.on_gpu else 4.0 * width * scale.dim


def _scratch(scale: Scale) -> float:
    return GPU_SCRATCH if scale.on_gpu else _CPU_SCRATCH
