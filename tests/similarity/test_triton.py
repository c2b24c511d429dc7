"""The GPU kernels give what the dense twin gives; without a GPU they run in Triton's interpreter, on tiny blocks."""

import numpy as np
import pytest
import torch

from circlet import aggregate
from circlet.rules import AngularMargin, Circle, ConstantMargin, TwoScales
from circlet.similarity import dense, gpu
from circlet.similarity.pairs import PairLse, Pairs
from tests.similarity.cases import RULES, arriving, assert_same, dense_lse, relative_error, run

NATIVE = torch.cuda.is_available()
DEVICE = "cuda" if NATIVE else "cpu"


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not NATIVE:
        monkeypatch.setenv("TRITON_INTERPRET", "1")


with pytest.MonkeyPatch.context() as patch:
    # Triton decides on import whether its functions are compiled or interpreted.
    if not NATIVE:
        patch.setenv("TRITON_INTERPRET", "1")
    triton = pytest.importorskip("triton")
    from circlet.similarity.gpu.blocks import Blocks, blocks_of, num_splits, precision
    from circlet.similarity.gpu.operators import How, Operands, gpu_lse, gpu_lse_backward, kernel_lse

compiled = isinstance(triton.language.sum, triton.JITFunction)
assert compiled == NATIVE, "Triton was imported before, without its interpreter"

pytestmark = [
    pytest.mark.slow,
    # Triton compiles in processes of their own.
    *([pytest.mark.gpu, pytest.mark.subprocess] if NATIVE else []),
    # numpy's, on pairs that a mask drops afterwards
    pytest.mark.filterwarnings("ignore:.*(overflow|invalid value|divide by zero|All-NaN slice) encoun:RuntimeWarning"),
]

TINY = Blocks(rows=16, columns=16, depth=16, height=32, width=32, num_warps=4, num_stages=2, references=32)
FORMS = ["pair", "class", "cross"]
NUM_REFERENCES = 35
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
every_form = pytest.mark.parametrize("form", FORMS)


def streamed(pairs, rule, *, normalize=True, blocks=TINY):
    given = Operands(pairs.anchors, pairs.references, pairs.labels, pairs.reference_labels)
    return PairLse(*kernel_lse(given, How(rule.kernel(), normalize, [*blocks])))


def operands(form, batch, *, dim=20, dtype=torch.float32, num_references=NUM_REFERENCES):
    generator = torch.Generator().manual_seed(batch)
    x, y = (torch.randn(rows, dim, generator=generator).to(DEVICE, dtype) for rows in (batch, num_references))
    labels = torch.randint(-3, 4, (batch,), generator=generator).to(DEVICE)
    reference_labels = torch.randint(-3, 6, (num_references,), generator=generator).to(DEVICE)
    if form == "pair":
        return [x], lambda x: Pairs(x, None, labels, None)
    if form == "class":
        return [x, y], lambda x, y: Pairs(x, y, labels + 3, torch.arange(len(y), device=DEVICE))
    return [x, y], lambda x, y: Pairs(x, y, labels, reference_labels)


def check(leaves, make, rule, rtol=1e-5, **settings):
    """Against the dense twin in fp64, rounded to the dtypes that must come out."""
    grads = arriving(len(make(*leaves).labels), torch.float64).to(DEVICE)
    doubles = [leaf.detach().double().requires_grad_(leaf.requires_grad) for leaf in leaves]
    normalize = settings.get("normalize", True)
    expected = run(dense_lse, doubles, make, rule, grads, normalize=normalize)
    wanted = [leaf for leaf in leaves if leaf.requires_grad] or leaves
    found = run(streamed, leaves, make, rule, grads.float(), **settings)
    expected = [v.float() for v in expected[0]], [g.to(w.dtype) for g, w in zip(expected[1], wanted, strict=True)]
    if NATIVE and leaves[0].dtype == torch.float32:
        # A GPU's exponentials are rounded as coarsely as the logits they are of: no further off than the twin in fp32.
        twin = run(dense_lse, leaves, make, rule, grads.float(), normalize=normalize)
        rtol = max(rtol, 2 * max(map(largest_error, twin[1], expected[1])))
    assert_same(found, expected, rtol=rtol)
    return found


def largest_error(found, exact):
    """On the scale of the largest number."""
    if not exact.numel():
        return 0.0
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=1.0))


@every_rule
@every_form
def test_equals_dense(rule, form):
    check(*operands(form, 33), rule)


@every_form
@pytest.mark.parametrize("batch", [1, 2, 15, 16, 17])
def test_awkward_batches(form, batch):
    check(*operands(form, batch, num_references=batch + 1 if form == "cross" else 7), Circle())


@every_form
@pytest.mark.parametrize("dim", [1, 3, 16, 64, 96])
def test_awkward_dims(form, dim):
    # With few dims many similarities are 1 or -1, and a rounding error of theirs is amplified by gamma.
    check(*operands(form, 18, dim=dim), Circle(), rtol=2e-3 if dim < 4 else 1e-5)


@every_form
@pytest.mark.parametrize("rule", [Circle(), AngularMargin()], ids=["circle", "angular"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits(rule, form, dtype):
    check(*operands(form, 17, dtype=dtype, num_references=17), rule, rtol=2 * torch.finfo(dtype).eps)


@every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_any_length(form, dtype):
    """One row beyond the squares of fp32 changes nothing for the others, and has the gradient of its own length."""
    for length in (1e-35, 1e-25, 1e-15, 1e-10, 0.0, 1e15, 1e19, 1e37):
        leaves, make = operands(form, 17, dtype=dtype)
        leaves[-1][2] *= length
        leaves[-1][5] *= length
        grads = arriving(17, torch.float32).to(DEVICE)
        lse, found = run(streamed, leaves, make, Circle(), grads)
        exact_lse, exact = run(dense_lse, [leaf.double() for leaf in leaves], make, Circle(), grads.double())
        assert_same((lse, []), ([value.float() for value in exact_lse], []), rtol=1e-5)
        changed = torch.zeros(len(leaves[-1]), dtype=torch.bool, device=DEVICE)
        changed[[2, 5]] = True
        for grad, reference in zip(found, exact, strict=True):
            for rows in (changed, ~changed):
                which = rows[: len(grad)]
                error = relative_error(grad[which].double(), reference[which])
                assert error <= max(1e-4, 2 * torch.finfo(dtype).eps), length


@every_form
def test_infinite_numbers_are_nan(form):
    leaves, make = operands(form, 17)
    leaves[0][11, 0] = torch.inf
    assert streamed(make(*leaves), Circle()).neg[11].isnan()


@pytest.mark.parametrize("dtypes", [(torch.float16, torch.float32), (torch.float32, torch.bfloat16)])
def test_operands_of_two_dtypes(dtypes):
    leaves, make = operands("cross", 17)
    leaves = [leaf.to(dtype) for leaf, dtype in zip(leaves, dtypes, strict=True)]
    check(leaves, make, Circle(), rtol=1e-2)


@every_form
def test_default_blocks(form):
    leaves, make = operands(form, 130, dim=40, num_references=140)
    check(leaves, make, Circle(), blocks=[])


@every_form
def test_inner_product(form):
    check(*operands(form, 17), ConstantMargin(0.1, 1.0), normalize=False)


LABELS = {
    "one class": lambda n: torch.zeros(n, dtype=torch.int64),
    "all singletons": lambda n: torch.arange(n).flip(0),
    "giant class and singletons": lambda n: torch.where(torch.arange(n) % 7 == 3, torch.arange(n), -1),
    "alike in their lower halves": lambda n: torch.arange(n) % 3 * 2**32 + 5,
    "int32": lambda n: (torch.arange(n) % 4).int(),
}


@pytest.mark.parametrize("make_labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("form", ["pair", "cross"])
def test_labels(make_labels, form):
    leaves, _ = operands("cross", 33)
    labels, reference_labels = make_labels(33).to(DEVICE), make_labels(NUM_REFERENCES).flip(0).to(DEVICE)
    if form == "pair":
        found = check(leaves[:1], lambda x: Pairs(x, None, labels, None), Circle())
    else:
        found = check(leaves, lambda x, y: Pairs(x, y, labels, reference_labels), Circle())
    assert all(grad.isfinite().all() for grad in found[1])


def test_references_beyond_the_last_count_for_nothing():
    leaves, _ = operands("cross", 16, num_references=17)
    labels = torch.arange(16, device=DEVICE) + 1
    for first in (1, 100):  # labels that meet those of the anchors, and that do not
        reference_labels = torch.arange(first, first + 17, device=DEVICE)
        check(leaves, lambda x, y, to=reference_labels: Pairs(x, y, labels, to), ConstantMargin(0.1, 1.0))


@every_form
def test_zero_rows_and_duplicates(form):
    leaves, make = operands(form, 20)
    for leaf in leaves:
        leaf[3] = 0
        leaf[5:9] = leaf[4]
    found = check(leaves, make, Circle(), rtol=1e-4)
    assert all((grad[3] == 0).all() for grad in found[1])


@every_form
def test_tiny_and_huge_rows(form):
    leaves, make = operands(form, 17)
    leaves = [leaf * torch.logspace(-33, 36, len(leaf), device=DEVICE)[:, None] for leaf in leaves]
    grads = arriving(17, torch.float32).to(DEVICE)
    found = run(streamed, leaves, make, Circle(), grads)
    exact = run(dense_lse, [leaf.double() for leaf in leaves], make, Circle(), grads.double())
    assert_same((found[0], []), ([value.float() for value in exact[0]], []), rtol=1e-5)
    for value, reference in zip(found[1], exact[1], strict=True):
        torch.testing.assert_close(value.double().norm(dim=1), reference.norm(dim=1), rtol=1e-3, atol=0)


@every_form
def test_non_contiguous_operands(form):
    leaves, make = operands(form, 17)
    check([torch.cat([leaf, leaf])[::2] for leaf in leaves], make, Circle())
    check([leaf.T.contiguous().T for leaf in leaves], make, Circle())


def test_offsets_beyond_32_bits():
    try:
        storage = torch.empty(3 * 2**30 + 4, dtype=torch.float16, device=DEVICE)  # 6 GiB, of which a few pages are used
    except RuntimeError:
        pytest.skip("no room for 6 GiB, not even unused")
    x = storage.as_strided((4, 4), (2**30, 1))
    x.copy_(torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1], [1, -1, 1, -1], [0, 2, 0, 2]]))
    labels = torch.tensor([0, 0, 1, 1], device=DEVICE)
    check([x], lambda x: Pairs(x, None, labels, None), Circle(), rtol=1e-3)
    check([x, x], lambda x, y: Pairs(x, y, labels, labels), Circle(), rtol=1e-3)


@pytest.mark.parametrize("which", [0, 1])
def test_gradient_of_one_operand(which):
    leaves, make = operands("cross", 17)
    leaves[which].requires_grad_()
    check(leaves, make, Circle())


@every_form
def test_a_negative_beyond_its_optimum_counts_as_one(form):
    leaves, make = operands(form, 17)
    leaves = [torch.ones_like(leaf) * (1 if i else -1) for i, leaf in enumerate(leaves)]
    check(leaves, make, Circle())


@every_form
def test_nan_reaches_the_output(form):
    for which in range(len(operands(form, 17)[0])):
        leaves, make = operands(form, 17)
        leaves[which][11, 0] = torch.nan
        lse, expected = (backend(make(*leaves), Circle()) for backend in (streamed, dense_lse))
        assert lse.neg.isnan().any()
        assert lse.neg.isnan().tolist() == expected.neg.isnan().tolist()
        assert lse.pos.isnan().tolist() == expected.pos.isnan().tolist()


@every_form
def test_same_input_same_bits(form):
    first, second = (run(streamed, *operands(form, 33), Circle(), arriving(33, torch.float32).to(DEVICE)) for _ in "12")
    assert all(torch.equal(*both) for both in zip(first[0] + first[1], second[0] + second[1], strict=True))


def test_no_references_and_no_anchors():
    for batch, num_references in ((0, 3), (3, 0), (0, 0)):
        leaves, make = operands("cross", batch, num_references=num_references)
        leaves = [leaf.requires_grad_() for leaf in leaves]
        lse = streamed(make(*leaves), Circle())
        assert (lse.pos == -torch.inf).all()
        assert lse.neg.shape == (batch,)
        lse.neg.sum().backward()
        assert all((leaf.grad == 0).all() for leaf in leaves)


@pytest.fixture
def uneven_products(monkeypatch):
    """Products whose last bits depend on the place in the tile: as on some processors, but on all and much more so."""
    if NATIVE:
        return
    builder = triton.runtime.interpreter.InterpreterBuilder
    create_dot = builder.create_dot

    def uneven_dot(*arguments, **options):
        product = create_dot(*arguments, **options)
        row, column = np.indices(product.data.shape)
        product.data *= (1 + (7 * row + 3 * column) % 5 * 2.0**-22).astype(np.float32)
        return product

    monkeypatch.setattr(builder, "create_dot", uneven_dot)


@pytest.mark.parametrize("blocks", [TINY, TINY._replace(rows=32), TINY._replace(columns=32)], ids=["16", "32", "wide"])
@pytest.mark.parametrize("form", ["pair", "cross"])
def test_probabilities_sum_to_one(form, blocks, uneven_products):
    """e^(e_ij - lse_i) takes the bits of s_ij that lse_i has summed, else it would be off by gamma times a last bit.

    With logits gamma x_i . y_j, all negative, and one gradient arriving, at the log-sum-exp of i, the gradient of the
    references is gamma p_ij x_i: its sum over j shows that of p_ij.
    """
    gamma, batch = 1000.0, 37
    x, y = (torch.nn.functional.normalize(leaf) for leaf in operands("cross", batch, dim=40)[0])
    labels = torch.arange(batch, device=DEVICE)
    leaves = [leaf.requires_grad_() for leaf in ([x] if form == "pair" else [x, y])]
    pairs = Pairs(x, None, labels, None) if form == "pair" else Pairs(x, y, labels, labels[: len(y)] + batch)
    lse = streamed(pairs, ConstantMargin(0.0, gamma), normalize=False, blocks=blocks)
    for anchor in (0, 18, batch - 1):
        (grad,) = torch.autograd.grad(lse.neg[anchor], leaves[-1:], retain_graph=True)
        if form == "pair":
            grad[anchor] = 0  # its own, as an anchor: gamma sum_j p_ij x_j
        torch.testing.assert_close(grad.sum(0) / gamma, x[anchor], rtol=0, atol=3e-6)


@pytest.mark.parametrize("gamma", [16.0, 256.0, 1024.0])
@pytest.mark.parametrize("spread", [0.05, 4.0])
@pytest.mark.parametrize("form", ["pair", "class"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_budget(gamma, spread, form, dtype):
    """No further from fp64 than the dense twin on the same operands, from converged (spread .05) to hopeless."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(8).repeat_interleave(4).to(DEVICE)
    centres = torch.randn(8, 24, generator=generator)
    x = (centres.repeat_interleave(4, 0) + spread * torch.randn(32, 24, generator=generator)).to(DEVICE, dtype)
    leaves = [x] if form == "pair" else [x, centres.to(DEVICE, dtype)]

    def gradients(backend, leaves):
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        pairs = Pairs(leaves[0], leaves[1], labels, torch.arange(8, device=DEVICE)) if form == "class" else (
            Pairs(leaves[0], None, labels, None))  # fmt: skip
        lse = backend(pairs, Circle(0.25, gamma))
        loss = aggregate.reduce(aggregate.softplus(lse.pos, lse.neg), lse.valid, "mean")
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    exact, naive, found = (gradients(*case) for case in (
        (dense_lse, [leaf.double() for leaf in leaves]), (dense_lse, leaves), (streamed, leaves)))  # fmt: skip
    rounding = torch.finfo(dtype).eps if dtype != torch.float32 else 2e-6
    assert relative_error(found[0], exact[0]) <= 1.5 * relative_error(naive[0], exact[0]) + 2e-6
    for value, twin, reference in zip(found[1:], naive[1:], exact[1:], strict=True):
        if reference.norm() > 1e-30:
            assert relative_error(value, reference) <= 1.5 * relative_error(twin, reference) + rounding


SETTINGS = (Circle().kernel().formula, list(Circle().kernel().numbers), True, [*TINY])


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("form", ["pair", "cross"])
def test_opcheck(form):
    leaves, make = operands(form, 5, dim=4, num_references=6)
    pairs = make(*[leaf.requires_grad_() for leaf in leaves])
    torch.library.opcheck(gpu_lse, (*pairs[:4], *SETTINGS))
    tensors = [tensor if tensor is None else tensor.detach() for tensor in pairs[:4]]
    _, *saved = gpu_lse(*tensors, *SETTINGS)
    for needs in ((True, True), (True, False), (False, True)):
        arguments = (*tensors, *saved, torch.rand(2, 5, device=DEVICE), *needs, *SETTINGS)
        torch.library.opcheck(gpu_lse_backward, arguments)


@every_form
def test_double_backward_is_refused(form):
    leaves, make = operands(form, 5)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    (grad,) = torch.autograd.grad(streamed(make(*leaves), Circle()).neg.sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        grad.sum().backward()


@every_form
def test_autocast_changes_nothing(form):
    leaves, make = operands(form, 9)
    grads = arriving(9, torch.float32).to(DEVICE)
    expected = run(streamed, leaves, make, Circle(), grads)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        found = run(streamed, leaves, make, Circle(), grads)
    assert all(torch.equal(*both) for both in zip(found[0] + found[1], expected[0] + expected[1], strict=True))


def test_pair_lse_and_what_it_supports(monkeypatch):
    leaves, make = operands("cross", 9)
    lse = gpu.pair_lse(make(*leaves), Circle(), normalize=True)
    torch.testing.assert_close(lse, dense.pair_lse(make(*leaves), Circle(), normalize=True))
    assert gpu.supports(make(*leaves), Circle(), "logsumexp") == NATIVE
    monkeypatch.setattr(gpu, "_on_gpu", lambda x: True)
    for rule in (Circle(), ConstantMargin(), AngularMargin(), TwoScales()):
        assert gpu.supports(make(*leaves), rule, "logsumexp")
    x, pairs = leaves[0], make(*leaves)
    mask = Pairs(x, None, None, None, torch.ones(9, 9, dtype=torch.bool, device=DEVICE))
    assert not gpu.supports(mask, Circle(), "logsumexp")
    assert not gpu.supports(pairs, Circle(), "max")
    assert not gpu.supports(pairs, Circle(torch.tensor(0.25)), "logsumexp")
    assert not gpu.supports(make(x.double(), leaves[1]), Circle(), "logsumexp")
    with pytest.raises(NotImplementedError, match="no GPU kernel"):
        gpu.pair_lse(pairs, Circle(), normalize=True, statistic="max")


def test_blocks():
    for dtype, dim in ((torch.bfloat16, 512), (torch.float32, 4096), (torch.float16, 3)):
        rows = torch.empty(1_000_000, dim, dtype=dtype, device="meta")
        for batch, references in ((1, None), (80, rows), (20_000, None), (20_000, rows)):
            blocks = blocks_of(rows[:batch], references)
            assert all(size == 1 << (size.bit_length() - 1) for size in blocks[:6])
            assert blocks.height % blocks.rows == blocks.width % blocks.rows == 0
            assert blocks.height * blocks.width * (2 if dtype == torch.bfloat16 else 4) <= 128 * 2**20
            assert references is None or blocks.width * dim * 4 <= 64 * 2**20


def test_splits_and_precision():
    assert num_splits(4, 1000) == 128
    assert num_splits(4, 5) == 5
    assert num_splits(1000, 5) == 1
    assert precision(torch.float32) == "tf32x3"
    torch.set_float32_matmul_precision("high")
    try:
        assert precision(torch.float32) == "tf32"
        assert precision(torch.bfloat16) == "ieee"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("form", ["pair", "cross"])
def test_fullgraph(form):
    torch.compiler.reset()
    compiled = torch.compile(gpu.pair_lse, fullgraph=True, backend="inductor" if NATIVE else "aot_eager")
    for batch in (7, 9):  # the second with dynamic shapes
        case = *operands(form, batch, dim=4, num_references=6), Circle(), arriving(batch, torch.float32).to(DEVICE)
        assert_same(run(compiled, *case, normalize=True), run(streamed, *case), rtol=1e-5)


@pytest.mark.skipif(not NATIVE, reason="needs a CUDA device: too large for the interpreter")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dim", [63, 512, 4096])
@every_form
def test_on_a_gpu(form, dim, dtype):
    leaves, make = operands(form, 2500, dim=dim, dtype=dtype, num_references=5000)
    check(leaves, make, Circle(), rtol=max(1e-4, 2 * torch.finfo(dtype).eps), blocks=[])
