"""The approximate index of a large segment: which rows may be the nearest, found without looking at all of them.

Rows are put into lists around centres (IVF), and each is there as its difference from the centre in 4-bit codes (PQ): 3
% of what the vectors take. A query looks through the codes of the lists whose centres are nearest, and the best by them
are then compared by the vectors themselves (`circlet.vectors.searching`), which stay where they are. The search is
faiss's; the file is ours, since a reader for whatever faiss can hold is too much to trust a file with: a line of JSON,
and arrays whose sizes follow from it and must be those of the file.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from circlet.files import write_atomically
from circlet.typed import typed
from circlet.vectors.opening import open_regular_file, read_whole
from circlet.vectors.protocol import Floats
from circlet.vectors.segment import Segment
from circlet.vectors.tail import Ints

FORMAT, VERSION = "circlet approximate index", 1
LEAST_ROWS = 1000
_ROWS_A_LIST, _MOST_LISTS = 500, 4096
_SUB, _CODES = 4, 16  # numbers that a code stands for, and how many codes there are
_SAMPLE_BYTES, _ITERATIONS = 1 << 27, 8
_ROWS_AT_ONCE = 1 << 14
_LINE_BYTES = 1 << 14


class Setting(NamedTuple):
    """How far a search looks: lists looked through, and rows compared by their vectors."""

    probes: int
    candidates: int


class Tuned(NamedTuple):
    """For how many neighbours a setting is, and the share of them it found when it was chosen."""

    k: int
    setting: Setting
    recall: float


class Arrays(NamedTuple):
    """What the file holds: centres (lists, dim), codebook (dim / 4, 16, 4), rows a list, rows and codes by list."""

    centres: Floats
    codebook: Floats
    sizes: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.uint32]
    codes: npt.NDArray[np.uint8]


class _Header(NamedTuple):
    format: str
    version: int
    segment: int
    dim: int
    lists: int
    rows: int
    tuned: list[Tuned]
    crc32: int


class Approximate:
    """An index in memory. `tuned`: ascending by k; none where no setting was good enough.

    num_lists: into how many the rows are divided.
    """

    def __init__(self, arrays: Arrays, dim: int, tuned: list[Tuned]) -> None:
        self.num_lists, self.tuned = len(arrays.sizes), tuned
        self._padding = -dim % _SUB
        self._index, self._quantizer = _index_of(arrays)  # which faiss holds no reference to

    def setting(self, k: int) -> Setting | None:
        """How far to look for k neighbours; None where it is not known how far would be enough."""
        return next((each.setting for each in self.tuned if k <= each.k), None)

    def rows(self, queries: Floats, setting: Setting) -> Ints:
        """The rows (q, candidates) of the segment that may be the nearest of (q, dim) queries; -1 where fewer are."""
        told = _faiss().SearchParametersIVF(nprobe=setting.probes)
        # faiss.contrib.torch_utils, which other libraries import, puts another `search` there that takes no parameters.
        search = getattr(self._index, "search_numpy", self._index.search)
        found: Ints = search(_padded(queries, self._padding), setting.candidates, params=told)[1]
        return found


def build(segment: Segment, advance: Callable[[int], object]) -> Arrays:
    """Make the index of a segment of at least LEAST_ROWS rows. Takes minutes for a million.

    advance: told of steps done, of `steps(segment)`. ImportError without faiss, ValueError for damaged vectors.
    """
    faiss = _faiss()
    dim, count = segment.vectors.shape[1], len(segment)
    padding = -dim % _SUB
    lists, size = _sizes(segment)
    chosen = np.sort(np.random.default_rng(0).choice(count, size, replace=False))
    segment.check(chosen)
    sample = _padded(segment.vectors[chosen], padding)
    quantizer = faiss.IndexFlatIP(dim + padding)
    quantizer.add(_centres(sample, lists, lambda: advance(size)))
    index = faiss.IndexIVFPQ(quantizer, dim + padding, lists, (dim + padding) // _SUB, 4, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.min_points_per_centroid = index.cp.min_points_per_centroid = 1
    index.train(sample)
    del sample
    for first in range(0, count, _ROWS_AT_ONCE):
        part = slice(first, min(first + _ROWS_AT_ONCE, count))
        segment.check(part)
        index.add(_padded(segment.vectors[part], padding))
        advance(part.stop - first)
    return _arrays_of(index)


def steps(segment: Segment) -> int:
    """How many steps building takes."""
    return len(segment) + _ITERATIONS * _sizes(segment)[1]


def _sizes(segment: Segment) -> tuple[int, int]:
    """How many lists to make, and of how many rows to find their centres."""
    dim: int = segment.vectors.shape[1]
    lists = min(max(len(segment) // _ROWS_A_LIST, 16), _MOST_LISTS)
    return lists, min(len(segment), max(_SAMPLE_BYTES // (4 * dim), 16 * lists))


def is_available() -> bool:
    """Whether faiss can be imported."""
    try:
        _faiss()
    except ImportError:
        return False
    return True


def write(path: Path, arrays: Arrays, tuned: list[Tuned], segment: Segment) -> None:
    """Write the index of a segment, atomically."""
    raw = [np.ascontiguousarray(each) for each in arrays]
    checksum = 0
    for each in raw:
        checksum = crc32(each.data, checksum)
    header = _Header(
        FORMAT, VERSION, segment.crc, segment.vectors.shape[1], len(arrays.sizes), len(segment), tuned, checksum
    )
    content = header._asdict() | {"tuned": [{**t._asdict(), "setting": t.setting._asdict()} for t in header.tuned]}
    line = json.dumps(content).encode()
    line += b" " * (-(len(line) + 1) % 64) + b"\n"  # arrays at a multiple of 64

    def fill(file: BinaryIO) -> None:
        file.write(line)
        for each in raw:
            file.write(each.data)

    write_atomically(path, fill)


def read(path: Path, segment: Segment) -> Approximate:
    """Read the index of a segment; a ValueError that names the file if it is damaged, or that of another one."""
    with open_regular_file(path) as file:
        line = read_whole(file, _LINE_BYTES).partition(b"\n")[0]
        try:
            found: _Header = typed(_Header, json.loads(line), "")
            _check(found, segment)
            shapes = _shapes(found)
            sizes = [int(np.prod(shape)) * np.dtype(kind).itemsize for kind, shape in shapes]
            expected = len(line) + 1 + sum(sizes)
            size = file.seek(0, 2)
            if size != expected:
                raise ValueError(f"found {size} bytes, expected {expected}: it has been cut off, or changed")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {error}") from None
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    checksum, arrays, first = 0, [], len(line) + 1
    for (kind, shape), size in zip(shapes, sizes, strict=True):
        raw = mapped[first : first + size]
        checksum, first = crc32(raw, checksum), first + size
        arrays.append(np.frombuffer(raw, np.uint8).view(kind).reshape(shape))
    read_arrays = Arrays(*arrays)
    inside = read_arrays.sizes.sum(dtype=np.int64) == len(segment) and read_arrays.rows.max(initial=0) < len(segment)
    finite = np.isfinite(read_arrays.centres).all() and np.isfinite(read_arrays.codebook).all()
    if checksum != found.crc32 or not inside or not finite:
        raise ValueError(f"{path}: found damaged data, expected it as it was written")
    return Approximate(read_arrays, found.dim, found.tuned)


def _check(found: _Header, segment: Segment) -> None:
    if (found.format, found.version) != (FORMAT, VERSION):
        raise ValueError("found another kind of file, or another version, expected an approximate index")
    if (found.segment, found.dim, found.rows) != (segment.crc, segment.vectors.shape[1], len(segment)):
        raise ValueError("found the index of other vectors, expected that of those beside it")
    if not 1 <= found.lists <= _MOST_LISTS:
        raise ValueError(f"lists: found {found.lists}, expected 1 to {_MOST_LISTS}")
    for each in found.tuned:
        if not (1 <= each.k <= each.setting.candidates <= 1 << 16 and 1 <= each.setting.probes <= found.lists):
            raise ValueError("tuned: found numbers out of range, expected those of an index")


def _shapes(header: _Header) -> list[tuple[str, tuple[int, ...]]]:
    dim = header.dim + -header.dim % _SUB
    parts = dim // _SUB
    return [
        ("<f4", (header.lists, dim)),
        ("<f4", (parts, _CODES, _SUB)),
        ("<u4", (header.lists,)),
        ("<u4", (header.rows,)),
        ("u1", (header.rows, (parts + 1) // 2)),
    ]


def _padded(rows: Floats, padding: int) -> Floats:
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, padding))) if padding else rows, np.float32)


def _centres(sample: Floats, lists: int, advance: Callable[[], object]) -> Floats:
    """Centres of (n, dim) unit rows by k-means, as unit rows."""
    faiss = _faiss()
    centres: Floats = sample[np.random.default_rng(1).choice(len(sample), lists, replace=False)]
    for _ in range(_ITERATIONS):
        step = faiss.Kmeans(sample.shape[1], lists, niter=1, spherical=True, min_points_per_centroid=1,
                            max_points_per_centroid=len(sample))  # fmt: skip
        step.train(sample, init_centroids=centres)
        centres = step.centroids
        advance()
    return centres


def _arrays_of(index: Any) -> Arrays:
    faiss = _faiss()
    lists, parts, width = index.nlist, index.pq.M, index.code_size
    sizes = np.array([index.invlists.list_size(i) for i in range(lists)], np.uint32)
    rows = np.empty(index.ntotal, np.uint32)
    codes = np.empty((index.ntotal, width), np.uint8)
    ends = np.cumsum(sizes, dtype=np.int64)
    for i, (end, size) in enumerate(zip(ends.tolist(), sizes.tolist(), strict=True)):
        if size:
            rows[end - size : end] = faiss.rev_swig_ptr(index.invlists.get_ids(i), size)
            codes[end - size : end] = faiss.rev_swig_ptr(index.invlists.get_codes(i), size * width).reshape(size, width)
    centres = index.quantizer.reconstruct_n(0, lists)
    codebook = faiss.vector_to_array(index.pq.centroids).reshape(parts, _CODES, _SUB)
    return Arrays(centres, codebook, sizes, rows, codes)


def _index_of(arrays: Arrays) -> tuple[Any, Any]:
    """The index as faiss searches it fastest, with its codes in blocks of 32 rows; and what finds the lists."""
    faiss = _faiss()
    lists, dim = arrays.centres.shape
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(arrays.centres)
    index = faiss.IndexIVFPQ(quantizer, dim, lists, len(arrays.codebook), 4, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(arrays.codebook).ravel(), index.pq.centroids)
    index.is_trained = True
    ids, codes = arrays.rows.astype(np.int64), np.ascontiguousarray(arrays.codes)
    ends = np.cumsum(arrays.sizes, dtype=np.int64)
    for i, (end, size) in enumerate(zip(ends.tolist(), arrays.sizes.tolist(), strict=True)):
        if size:
            part = slice(end - size, end)
            index.invlists.add_entries(i, size, faiss.swig_ptr(ids[part]), faiss.swig_ptr(codes[part]))
    index.ntotal = len(ids)
    return faiss.IndexIVFPQFastScan(index), quantizer


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError("the approximate index needs faiss: pip install 'circlet[search]'") from error
    return faiss
