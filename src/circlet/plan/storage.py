"""What is kept: checkpoints, features, embeddings, indexes; bytes on disk, and memory where it is written.

Legend: N images or vectors, D dim, F numbers of a feature, C classes, P weights, m moments, M rows of the memory bank.
"""

from circlet.features.parts import record_type
from circlet.plan.network import Network
from circlet.plan.part import Part
from circlet.plan.rates import Rates
from circlet.plan.scale import MOMENTS, Scale
from circlet.vectors.segment import Layout

NPY_HEADER = 128
_TILE, _TILES = 4096, 5.5  # of similarities, beside each other with what is made of them; measured
_CODE_BYTES, _ROW_BYTES = 0.5, 4  # of an approximate index: a code for 4 numbers, and the row's number


def checkpoint(scale: Scale, network: Network, rates: Rates, every: int) -> Part:
    """One file of full tensors: 4 (1 + m) (P + C D) and buffers, M (4 D + 8); last.pt and best.pt.

    Over several ranks rank 0 holds all that is spread over them while it is written, 4 (1 + m) C D, under fsdp 4 (1 +
    m) P too, which the other ranks send it. every: steps between two, over which its time is spread.
    """
    states = 1 + MOMENTS[scale.optimizer]
    classes = 0.0 if scale.level == "pair" else 4.0 * states * scale.classes * scale.dim
    size = checkpoint_bytes(scale, network)
    spread = classes + (4.0 * states * network.weights if scale.fsdp else 0.0)
    gathered = spread if scale.ranks > 1 else 0.0
    seconds = None if rates.disk is None else size / rates.disk.value / every
    host, update = (gathered, 0.0) if scale.on_gpu else (0.0, gathered)
    sent = 0.0 if scale.ranks == 1 else spread / scale.ranks / every
    return Part("checkpoint", host=host, update=update, seconds=seconds, sent=sent, disk=2 * size)


def checkpoint_bytes(scale: Scale, network: Network) -> float:
    """Bytes of the tensors in last.pt."""
    states = 1 + MOMENTS[scale.optimizer]
    classes = 0.0 if scale.level == "pair" else scale.classes * scale.dim
    return 4.0 * states * (network.weights + classes) + network.buffers + scale.memory * (4.0 * scale.dim + 8)


def features(scale: Scale, network: Network) -> Part:
    """The cache of a frozen network: N (20 + 4 F)."""
    return Part("feature cache", disk=feature_bytes(scale.images, network.features))


def feature_bytes(images: float, features: int) -> float:
    """Of the records, without the header of each file (128).

    >>> feature_bytes(10, 5)
    400.0
    """
    return float(images * record_type(features).itemsize)


def embeddings(scale: Scale) -> Part:
    """What `circlet embed` writes: a matrix, 128 + 4 N D, and a Parquet table, 4 N D and the names."""
    matrix = NPY_HEADER + 4.0 * scale.images * scale.dim
    return Part("embeddings", disk=matrix + parquet_bytes(scale))


def parquet_bytes(scale: Scale) -> float:
    """4 N D and the names: numbers of embeddings do not get smaller by what Parquet does."""
    return scale.images * (4.0 * scale.dim + scale.name_bytes)


def index(scale: Scale) -> Part:
    """What `circlet index` writes: vectors, names and what finds them; above that, half a byte for 4 numbers.

    `circlet.vectors.segment.Layout` says it exactly: about N (4 D + 36 + the text of an item), 67 of it for a name, a
    class of 10 letters and a digest.
    """
    return Part("index", disk=index_bytes(scale) + approximate_bytes(scale))


def index_bytes(scale: Scale, text: float | None = None) -> float:
    """Of the segment that holds all vectors. text: bytes of an item's name, class and digest."""
    text = scale.name_bytes + 1 + 10 + 1 + 32 if text is None else text
    rows = int(scale.images)
    return float(Layout(scale.dim, rows, round(rows * text), 0).num_bytes)


def approximate_bytes(scale: Scale) -> float:
    """Of the lists and codes: N (D / 8 + 4), and the centres."""
    lists = min(max(int(scale.images) // 500, 16), 4096)
    groups = -(-scale.dim // 4)
    return scale.images * (_CODE_BYTES * groups + _ROW_BYTES) + lists * (16.0 * groups + 4) + 256.0 * groups


def tested(scale: Scale, rates: Rates, images: float) -> Part:
    """Retrieval metrics of `images` (n) against each other: n n D operations; rows twice, 8 n D, and tiles.

    For the whole of it once, not for a step.
    """
    seconds = None if rates.search is None else images * images * scale.dim / rates.search.value
    tiles = _TILES * 4.0 * min(images, _TILE) ** 2
    return Part("test: retrieval", update=8.0 * images * scale.dim + tiles, seconds=seconds)
