"""The kernels in C: the formulas of `blocks` in fp64 are the oracle; and where there are none, all goes on without."""

import math
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet import CircleLoss
from circlet.similarity.native import (
    USE_NATIVE,
    Arrived,
    Exponent,
    Given,
    Matrix,
    Met,
    Native,
    Place,
    Ranges,
    Side,
    _is_right,
    build,
    native,
)
from circlet.similarity.rows import USUAL
from circlet.similarity.short_form import Fused
from tests.similarity.cases import relative_error

KERNELS = native(torch.float32, torch.device("cpu"))
SIDES = {
    "squared": Fused(True, -0.25, 0.25),
    "linear": Fused(False, float("-inf"), 1.0),
    "squared of 1 - s": Fused(True, -0.25, 0.25, True),
    "1 - s": Fused(False, float("-inf"), 1.0, True),
}
RATE = 50.0
needs_kernels = pytest.mark.skipif(KERNELS is None, reason="needs gcc and Linux")
every_side = pytest.mark.parametrize("side", SIDES.values(), ids=SIDES.keys())
sizes = pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 17), (3, 1), (16, 1024), (17, 1025), (40, 3000)])


def block(rows, columns, seed=0, side=None):
    """Similarities whose rows are not next to each other; those from 0 to 2 for a side of 1 - s."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.rand(rows, columns + 3, generator=generator) * 2 - 1
    return (1 - t if side is not None and side.flipped else t)[:, 1 : columns + 1]


def terms(s, side, shift):
    """2^(rate q + shift) and the unit slope, in fp64."""
    q, slope = q_and_slope(s, side)
    return torch.exp2(RATE * q + shift), slope


def q_and_slope(s, side):
    """As `Fused` says them, in fp64."""
    c = (1 - s.double() if side.flipped else s.double()).clamp(min=side.floor)
    q, slope = (c * c, c + side.level) if side.squared else (c, torch.ones_like(c))
    return q, -slope if side.flipped else slope


def test_here_there_are_kernels():
    """CI has gcc: without this a mistake in the build would leave everything below untested, and green."""
    assert KERNELS is not None or build.shutil.which("gcc") is None or not USE_NATIVE


@contextmanager
def on_threads(number):
    """So many threads of torch, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def add(s, side, rate=RATE, shift=-30.0, columns=True):
    """Whether it was added, and the log2 of the sums over rows and columns of a block added to 2 and to nothing."""
    totals = torch.full((sum(s.shape),), -torch.inf, dtype=torch.float64)
    totals[::2] = 1.0
    place = Place(0, len(s), columns)
    return KERNELS.add(s, place, side, Exponent(rate, math.log(2), 0.25), shift, totals, None), totals


def added(terms):
    """As `add` should have it, from 2^(rate q)."""
    sums = torch.cat([terms.sum(1), terms.sum(0)]).log() + 0.25
    sums[::2] = torch.logaddexp(sums[::2], torch.tensor(1.0, dtype=torch.float64))
    return sums


@needs_kernels
@every_side
@sizes
def test_add(side, rows, columns):
    s = block(rows, columns, side=side)
    done, found = add(s, side)
    assert done
    torch.testing.assert_close(found, added(terms(s, side, 0.0)[0]), rtol=0, atol=5e-6)
    done, of_rows = add(s, side, columns=False)
    assert done
    assert torch.equal(of_rows[:rows], found[:rows])
    assert (of_rows[rows:][(rows % 2) :: 2] == 1).all()


@needs_kernels
@every_side
@sizes
@pytest.mark.parametrize("mirrored", [False, True])
def test_similarities_times_a_scale_of_their_column(side, rows, columns, mirrored):
    """As if each had been multiplied before, to the bit; and so for the gradient afterwards."""
    s = block(rows, columns, side=side)
    scales = torch.rand(columns, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.1
    raw = s / scales
    once = raw * scales  # the similarities, rounded as the kernel does it
    positive = torch.arange(rows + columns) % max(columns, 1) + (rows if mirrored else 0)
    ranges = Ranges(torch.stack([positive, positive + 1]), own=False)
    place = Place(0, rows if mirrored else 0, mirrored)
    found = []
    for given_, of_columns in ((raw, scales), (once, None)):
        totals, near = torch.zeros(rows + columns, dtype=torch.float64), torch.zeros(rows + columns, 1)
        positives = None if mirrored else (ranges, near)  # whose mirror images are none
        exponent = Exponent(RATE, math.log(2), 0.25)
        done = KERNELS.add(given_, place, side, exponent, -30.0, totals, positives, of_columns)
        assert done or columns == 1
        arrived = Arrived(side, RATE, torch.full((rows + columns,), -60.0), torch.linspace(-1, 1, rows + columns))
        out = torch.empty(rows, columns)
        assert KERNELS.gradient(out, given_, place, arrived, None if mirrored else (ranges, arrived), of_columns)
        found.append((totals, near, out if of_columns is not None else out * scales))
    for with_scales, without in zip(*found, strict=True):
        assert torch.equal(with_scales, without)


def same_label(sizes):
    """(n, n) which pairs are of one label, with so many rows of each, and the ends (2, n) of `Ranges`."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    ends = torch.stack([torch.searchsorted(labels, labels), torch.searchsorted(labels, labels, right=True)])
    return labels[:, None] == labels, ends


blocks_of_labels = given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=300),
    rows=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    columns=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    mirrored=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)


def ends_of(shares, size):
    """[first, last) of so many, at least one."""
    first = min(int(min(shares) * size), size - 1)
    return first, max(int(max(shares) * size), first + 1)


@needs_kernels
@every_side
@blocks_of_labels
def test_positives_do_not_count_and_their_similarities_are_written(side, sizes, rows, columns, mirrored, threads, seed):
    positive, ends = same_label(sizes)
    n, most = len(positive), max(sizes)
    (a, b), (c, d) = ends_of(rows, n), ends_of(columns, n)
    s = block(b - a, d - c, seed, side)
    near = torch.full((n, most), 7.0)
    totals = torch.full((n,), 1.0, dtype=torch.float64)
    positives, exponent = (Ranges(ends, own=True), near), Exponent(RATE, math.log(2), 0.25)
    with on_threads(threads):
        done = KERNELS.add(s, Place(a, c, mirrored), side, exponent, -30.0, totals, positives)
    expected = terms(s, side, 0.0)[0].masked_fill(positive[a:b, c:d], 0.0)
    sums = [(slice(a, b), expected.sum(1)), *([(slice(c, d), expected.sum(0))] if mirrored else [])]
    assert done == all((each > 0).all() for _, each in sums)
    all_sums = torch.full((n,), math.exp(1.0), dtype=torch.float64)
    for place, each in sums if done else []:
        all_sums[place] += each * math.exp(0.25)
    torch.testing.assert_close(totals, all_sums.log(), rtol=0, atol=5e-6)
    written = torch.full((n, n), 7.0)
    written[a:b, c:d] = s
    if mirrored:
        written[c:d, a:b] = s.T
        # Where a block meets its own mirror image, either may be written last: they are of no symmetric matrix here.
        twice = torch.zeros(n, n, dtype=torch.bool)
        twice[a:b, c:d] = True
        twice = twice & twice.T
    for anchor in range(n):
        low, high = ends[:, anchor].tolist()
        found, wanted = near[anchor, : high - low], written[anchor, low:high]
        if mirrored:
            found, wanted = (torch.where(twice[anchor, low:high], 0.0, each) for each in (found, wanted))
        assert torch.equal(found, wanted)
        assert (near[anchor, high - low :] == 7).all()


@needs_kernels
@every_side
@pytest.mark.parametrize(("value", "rate", "shift"), [(torch.nan, RATE, 0.0), (0.9, 400.0, 0.0), (0.9, 1.0, -90.0)])
def test_nothing_is_added_where_a_sum_is_no_number_too_large_or_too_small(side, value, rate, shift):
    s = torch.full((2, 3), 0.1)
    s[1] = value
    before = torch.tensor([1.0, -torch.inf, 1.0, -torch.inf, 1.0], dtype=torch.float64)
    done, found = add(s, side, rate, shift)
    assert not done
    assert torch.equal(found, before)


def expected_gradient(s, side, of_rows, of_columns):
    """Slope 2^(rate q + shift) factor by the (shift, factor) of the rows and, unless None, of the columns, in fp64."""
    total = torch.zeros(s.shape, dtype=torch.float64)
    for arrived, dim in ((of_rows, 1), (of_columns, 0)):
        if arrived is not None:
            shift, factor = (each.double().unsqueeze(dim) for each in arrived)
            term, slope = terms(s, side, shift)
            total += term * slope * factor
    return total


@needs_kernels
@every_side
@sizes
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_gradient(side, rows, columns, mirrored, in_place):
    s = block(rows, columns, side=side)
    of_rows = -torch.arange(rows).float() - 40, torch.randn(rows)
    of_columns = -torch.arange(columns).float() % 90 - 30, torch.randn(columns)
    expected = expected_gradient(s, side, of_rows, of_columns if mirrored else None)
    arrived = Arrived(side, RATE, *(torch.cat(each) for each in zip(of_rows, of_columns, strict=True)))
    out = s if in_place else torch.empty(rows, columns)
    assert KERNELS.gradient(out, s, Place(0, rows, mirrored), arrived, None)
    torch.testing.assert_close(out.double(), expected, rtol=3e-5, atol=1e-6 * float(expected.abs().max()))


@needs_kernels
@every_side
@blocks_of_labels
def test_gradient_of_positives_and_negatives(side, sizes, rows, columns, mirrored, threads, seed):
    positive, ends = same_label(sizes)
    n = len(positive)
    (a, b), (c, d) = ends_of(rows, n), ends_of(columns, n)
    s = block(b - a, d - c, seed, side)
    generator = torch.Generator().manual_seed(seed)
    of_neg = -torch.rand(n, generator=generator) * 80 - 40, torch.randn(n, generator=generator)
    of_pos = -torch.rand(n, generator=generator) * 150 - 90, torch.randn(n, generator=generator)
    other = SIDES["squared of 1 - s"] if side is SIDES["linear"] else SIDES["linear"]
    expected = []
    for form, arrived in ((other, of_pos), (side, of_neg)):
        at_rows, at_columns = ([each[part] for each in arrived] for part in (slice(a, b), slice(c, d)))
        expected.append(expected_gradient(s, form, at_rows, at_columns if mirrored else None))
    own = torch.arange(a, b)[:, None] == torch.arange(c, d)
    wanted = torch.where(positive[a:b, c:d], *expected).masked_fill(own, 0.0)
    neg, pos = Arrived(side, RATE, *of_neg), Arrived(other, RATE, *of_pos)
    with on_threads(threads):
        assert KERNELS.gradient(s, s, Place(a, c, mirrored), neg, (Ranges(ends, own=True), pos))
    for kind in (positive[a:b, c:d], ~positive[a:b, c:d]):
        size = float(torch.where(kind, wanted, 0.0).abs().max())
        torch.testing.assert_close(s.double()[kind], wanted[kind], rtol=6e-5, atol=1e-6 * size + 1e-37)


@needs_kernels
@pytest.mark.parametrize("shift", [torch.nan, torch.inf, 100.0])
def test_shifts_that_are_too_far_apart(shift):
    s, out = block(4, 40), torch.full((4, 40), 7.0)
    shifts = torch.full((44,), -80.0)
    shifts[2] = shift
    arrived = Arrived(SIDES["squared"], RATE, shifts, torch.ones(44))
    assert not KERNELS.gradient(out, s, Place(0, 4, True), arrived, None)
    assert (out == 7).all()
    assert KERNELS.gradient(out, s, Place(0, 4, False), arrived, None)
    assert not (out[2] == 7).any()


@needs_kernels
def test_gradient_of_nan_is_nan_alone():
    s = block(4, 40).clone()
    s[1, 7] = torch.nan
    out = torch.empty_like(s)
    arrived = Arrived(SIDES["squared"], RATE, torch.zeros(4), torch.ones(4))
    assert KERNELS.gradient(out, s, Place(0, 0, False), arrived, None)
    assert out.isnan().nonzero().tolist() == [[1, 7]]


@needs_kernels
def test_a_block_of_other_anchors_is_refused():
    s, arrived = torch.zeros(4, 6), Arrived(SIDES["linear"], RATE, torch.zeros(9), torch.ones(9))
    ranges = Ranges(torch.zeros(2, 5, dtype=torch.int64), own=True)
    for place, positives in ((Place(6, 0, False), None), (Place(0, 4, True), None), (Place(-1, 0, False), None),
                             (Place(2, 0, False), (ranges, arrived))):  # fmt: skip
        with pytest.raises(AssertionError):
            KERNELS.gradient(s, s, place, arrived, positives)
        near = None if positives is None else (ranges, torch.zeros(9, 1))
        with pytest.raises(AssertionError):
            KERNELS.add(s, place, SIDES["linear"], Exponent(1.0, 1.0, 0.0), 0.0, torch.zeros(9).double(), near)


@needs_kernels
def test_powers_of_2():
    one = Arrived(SIDES["linear"], 1.0, torch.zeros(1), torch.ones(1))
    x, whole = torch.linspace(-125.9, 127.4, 100_000)[None], torch.arange(-126.0, 128.0)[None]
    for given_ in (x, whole):
        out = torch.empty_like(given_)
        assert KERNELS.gradient(out, given_, Place(0, 0, False), one, None)
        assert float((out.double() / given_.double().exp2() - 1).abs().max()) < 1e-7
    assert torch.equal(out, whole.exp2())


@needs_kernels
@given(size=st.integers(1, 70), threads=st.integers(1, 5), seed=st.integers(0, 99))
def test_mirror(size, threads, seed):
    s = block(size, size, seed)
    expected = s.triu() + s.triu(1).T
    with on_threads(threads):
        KERNELS.mirror(s)
    assert torch.equal(s, expected)


@needs_kernels
def test_threads_give_the_same_each_time_and_nearly_the_same_among_them():
    s, found = block(500, 3000), {}
    for threads in (1, 2, 3, 2):
        with on_threads(threads):
            sums = add(s, SIDES["squared"])[1]
        assert torch.equal(found.setdefault(threads, sums), sums)
    torch.testing.assert_close(found[1], found[3], rtol=1e-7, atol=0)


@needs_kernels
@pytest.mark.parametrize("batch", [90, 900])
@pytest.mark.parametrize("classes", [None, 3000])
def test_a_loss_with_and_without(batch, classes, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(batch, 24, generator=generator), torch.arange(batch) // 4
    weights = () if classes is None else (torch.randn(classes, 24, generator=generator, requires_grad=True),)
    found = []
    for use in (True, False):
        monkeypatch.setattr("circlet.similarity.native.USE_NATIVE", use)
        leaves = [x.clone().requires_grad_(), *weights]
        loss = CircleLoss(margin=0.25, gamma=64.0)(leaves[0], labels, *weights)
        found.append((loss.detach(), torch.autograd.grad(loss, leaves)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=0)
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        assert relative_error(mine, theirs) < 2e-6


def test_not_for_other_dtypes_or_devices_nor_where_turned_off(monkeypatch):
    assert native(torch.float64, torch.device("cpu")) is None
    assert native(torch.float32, torch.device("meta")) is None
    monkeypatch.setattr("circlet.similarity.native.USE_NATIVE", False)
    assert native(torch.float32, torch.device("cpu")) is None


@pytest.fixture
def load(tmp_path, monkeypatch):
    """What builds the kernels, with an empty cache."""
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path))
    return build.load.__wrapped__


@needs_kernels
def test_whatever_the_umask(load):
    before = os.umask(0o002)
    try:
        assert load() is not None
    finally:
        os.umask(before)


@needs_kernels
def test_built_once(load, tmp_path, monkeypatch):
    assert load() is not None
    (made,) = (tmp_path / "native").iterdir()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("built again"))
    assert load() is not None
    assert list((tmp_path / "native").iterdir()) == [made]


def test_none_where_something_is_missing(load, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert load() is None
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert load() is None
    with monkeypatch.context() as patch:
        patch.setattr(build, "SOURCES", tmp_path)
        (tmp_path / "other.c").write_text("this is no C")
        assert load() is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "file"))
    assert load() is None


@needs_kernels
@pytest.mark.parametrize("what", ["file", "folder"])
def test_none_where_others_could_have_put_them(load, tmp_path, what):
    assert load() is not None
    folder = tmp_path / "native"
    for path in folder.iterdir() if what == "file" else [folder]:
        path.chmod(0o777)
    assert load() is None


@needs_kernels
def test_a_file_that_is_no_library_is_not_used(load):
    made = build._library()
    made.write_bytes(b"\x7fELF nothing")
    assert load() is None


@needs_kernels
def test_kernels_that_compute_something_else_are_not_used(load, tmp_path, monkeypatch):
    for path in build.SOURCES.glob("*.[ch]"):
        (tmp_path / path.name).write_text(path.read_text().replace("9.618437358e-3f", "8.618437358e-3f"))
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    library = load()
    assert library is not None
    assert not _is_right(Native(library))


@needs_kernels
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 1500),
    own=st.booleans(),
    masked=st.booleans(),
    how=st.tuples(*[st.sampled_from([*SIDES, "given", "given, of slope 1"])] * 2),
    seed=st.integers(0, 99),
)
def test_whole_matrix(rows, columns, own, masked, how, seed):
    """Log-sum-exps by kind, their mean and the gradient by the similarities, against fp64 with boolean masks."""
    generator = torch.Generator().manual_seed(seed)
    columns = rows if own else columns
    of_1_minus_s = any(name in SIDES and SIDES[name].flipped for name in how)
    s = torch.rand(rows, columns, generator=generator) * (1.2 if of_1_minus_s else 2) - (0.2 if of_1_minus_s else 1)
    labels, others = (torch.randint(0, 5, (size,), generator=generator) for size in (rows, columns))
    others = labels if own else others
    mask = labels[:, None] == others
    negative = ~mask
    positive = mask.clone().fill_diagonal_(False) if own else mask
    met = Met(None, None, mask, own) if masked else Met(labels, others, None, own)
    exponents = (Exponent(20.0, math.log(2), 0.5), Exponent(7.0, math.log(2), -3.0))
    sides, given_, values = [], [], []
    for name, exponent in zip(how, exponents, strict=True):
        form = SIDES.get(name)
        q = torch.rand(rows, columns, generator=generator) * 2 - 1
        slope = torch.randn(rows, columns, generator=generator) if name == "given" else None
        sides.append(Side(form, exponent))
        given_.append(Given(q, slope) if form is None else Given())
        of_given = q.double(), torch.ones(rows, columns) if slope is None else slope
        values.append(of_given if form is None else q_and_slope(s, form))
    matrix = Matrix(rows, columns, tuple(sides), met)
    lse = KERNELS.lse(s, given_, matrix)
    mean, slopes, same = KERNELS.mean_softplus(s, given_, matrix)
    assert torch.equal(same, lse)
    arrived = torch.randn(2, rows, generator=generator)
    gradient = KERNELS.lse_gradient(s, given_, matrix, lse, arrived.unbind())
    expected = torch.zeros(rows, columns, dtype=torch.float64)
    for i, kind in enumerate((positive, negative)):
        rate, scale, offset = exponents[i]
        q, slope = values[i]
        logits = torch.where(kind, rate * scale * q + offset, -torch.inf)
        torch.testing.assert_close(lse[i], logits.logsumexp(1), rtol=0, atol=5e-6)
        weights = torch.where(kind, (logits - lse[i][:, None]).exp(), 0.0) * arrived[i][:, None].double()
        expected += weights * rate * scale * slope
    expected = expected + expected.T if own else expected
    torch.testing.assert_close(gradient.double(), expected, rtol=2e-5, atol=2e-6 * float(expected.abs().max()))
    has_both = (lse > -torch.inf).all(0)
    count = max(int(has_both.sum()), 1)
    losses = torch.nn.functional.softplus(lse.sum(0)[has_both], threshold=40)
    torch.testing.assert_close(mean.double(), losses.sum() / count, rtol=1e-7, atol=1e-40)
    expected = torch.where(has_both, lse.sum(0).sigmoid() / count, 0.0)
    torch.testing.assert_close(slopes.double(), expected, rtol=2e-7, atol=1e-40)


@needs_kernels
def test_whole_matrix_keeps_nan_in_its_row_and_kind():
    s, labels = block(6, 40).contiguous(), torch.arange(6) % 2
    s[2, 1] = torch.nan  # a negative of row 2
    sides = (Side(SIDES["squared of 1 - s"], Exponent(20.0, math.log(2), 0.0)),
             Side(SIDES["linear"], Exponent(20.0, math.log(2), 0.0)))  # fmt: skip
    matrix = Matrix(6, 40, sides, Met(labels, torch.arange(40) % 2, None, False))
    mean, slopes, lse = KERNELS.mean_softplus(s, (Given(), Given()), matrix)
    assert lse.isnan().nonzero().tolist() == [[1, 2]]
    assert slopes.isnan().nonzero().tolist() == [[2]]
    assert mean.isnan()


@needs_kernels
@pytest.mark.parametrize("value", [-800.0, -90.0, 0.0, 39.0, 90.0, 800.0])
def test_mean_softplus_of_logits_of_any_size(value):
    s = torch.full((3, 5), value)
    sides = (Side(SIDES["linear"], Exponent(1 / math.log(2), math.log(2), 0.0)),) * 2
    matrix = Matrix(3, 5, sides, Met(torch.arange(3), torch.tensor([0, 1, 2, 0, 1]), None, False))
    mean, slopes, lse = KERNELS.mean_softplus(s, (Given(), Given()), matrix)
    torch.testing.assert_close(mean.double(), torch.nn.functional.softplus(lse.sum(0), threshold=40).mean(),
                               rtol=1e-6, atol=1e-44)  # fmt: skip
    torch.testing.assert_close(slopes.double(), lse.sum(0).sigmoid() / 3, rtol=1e-6, atol=1e-44)


@needs_kernels
def test_whole_matrix_of_another_size_is_refused():
    met = Met(torch.arange(4), torch.arange(5), None, False)
    sides = (Side(SIDES["linear"], Exponent(1.0, 1.0, 0.0)),) * 2
    matrix = Matrix(4, 5, sides, met)
    with pytest.raises(AssertionError):
        KERNELS.lse(torch.zeros(4, 6), (Given(), Given()), matrix)
    with pytest.raises(AssertionError):
        Matrix(4, 6, sides, met)
    with pytest.raises(AssertionError):
        Matrix(4, 5, sides, met._replace(own=True))


@needs_kernels
@pytest.mark.parametrize("dim", [1, 5, 512, 1500])
@pytest.mark.parametrize("in_place", [False, True])
def test_unit_rows_of_any_length_and_the_way_back(dim, in_place):
    directions = torch.nn.functional.normalize(torch.randn(9, dim, generator=torch.Generator().manual_seed(0)), dim=1)
    lengths = torch.tensor([1.0, 0.0, 700.0, 1e-30, 3e-38, 1e25, 3e37, torch.inf, torch.nan])[:, None]
    x = (directions * lengths)[:, :dim]
    norm = x.double().norm(dim=1, keepdim=True)
    expected = torch.where(norm == 0, 0.0, x.double() / norm)
    out = x.clone() if in_place else torch.empty_like(x)
    norms = KERNELS.unit(out if in_place else x, None, out, USUAL[torch.float32])
    torch.testing.assert_close(out[:7].double(), expected[:7], rtol=3e-7, atol=0)
    assert out[7:].isnan().any(1).all()
    torch.testing.assert_close(norms[:7].double(), norm[:7].masked_fill(norm[:7] == 0, torch.inf), rtol=3e-7, atol=0)
    gradient = torch.randn(7, dim, generator=torch.Generator().manual_seed(1))
    tangent = gradient.double() - (gradient.double() * expected[:7]).sum(1, keepdim=True) * expected[:7]
    KERNELS.through_norm(gradient, out[:7], norms[:7])
    found = gradient.double() * torch.where(norm[:7] == 0, 1.0, norm[:7])
    usual = [0, 2, 5]  # of the others the gradient overflows or vanishes
    torch.testing.assert_close(found[usual], tangent[usual], rtol=1e-5, atol=1e-6)
    assert (gradient[1] == 0).all()
    index = torch.tensor([5, 1, 5, 0])
    chosen = torch.empty(4, dim)
    assert torch.equal(KERNELS.unit(x, index, chosen, USUAL[torch.float32]), norms[index])
    assert torch.equal(chosen, out[index])


@needs_kernels
@pytest.mark.parametrize("dim", [1, 5, 512, 1500])
def test_lengths_of_rows_and_the_way_back_of_rows_as_they_are(dim):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1.0, 700.0, 1e-11, 1e17])[:, None]
    x = torch.nn.functional.normalize(torch.randn(4, dim, generator=generator), dim=1) * lengths
    norms = KERNELS.lengths(x, USUAL[torch.float32])
    assert torch.equal(norms, KERNELS.unit(x, None, torch.empty_like(x), USUAL[torch.float32]))
    unit = x.double() / x.double().norm(dim=1, keepdim=True)
    factor = norms.reciprocal()
    gradient = torch.randn(4, dim, generator=generator)
    found = gradient * factor
    KERNELS.through_norm(found, x, norms, factor)
    tangent = gradient.double() - (gradient.double() * unit).sum(1, keepdim=True) * unit
    torch.testing.assert_close(found.double() * norms, tangent, rtol=1e-5, atol=1e-6)
    for unusual in (0.0, 1e-30, 1e25, torch.inf, torch.nan):
        x[2] = 0.0
        x[2, 0] = unusual
        assert KERNELS.lengths(x, USUAL[torch.float32]) is None
