"""The seam on a CUDA device: the backends it chooses there give what the dense twin gives, and wait for nothing."""

import warnings

import pytest
import torch

import circlet
from circlet import similarity
from circlet.rules import Circle
from circlet.similarity import dense, gpu, tiles
from circlet.similarity.pairs import Pairs
from tests.similarity.cases import RULES, arriving, assert_same, dense_lse, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.subprocess,  # Triton compiles in processes of its own
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FORMS = ["pair", "class", "mask", "own_mask"]


def operands(form, batch, *, dim=48, num_references=2500, dtype=torch.float32):
    generator = torch.Generator("cuda").manual_seed(0)
    draw = {"generator": generator, "device": "cuda"}
    x, y = (torch.randn(rows, dim, **draw).to(dtype) for rows in (batch, num_references))
    labels = torch.randint(0, 300, (batch,), **draw)
    if form == "pair":
        return [x], lambda x: Pairs(x, None, labels, None)
    if form == "class":
        return [x, y], lambda x, y: Pairs(x, y, labels, torch.arange(len(y), device="cuda"))
    mask = torch.rand(batch, num_references if form == "mask" else batch, **draw) < 0.01
    if form == "mask":
        return [x, y], lambda x, y: Pairs(x, y, None, None, mask)
    return [x], lambda x: Pairs(x, None, None, None, mask)


def check(backend, case, rule, rtol, **settings):
    leaves, make = case
    grads = arriving(len(leaves[0]), torch.float64).cuda()
    exact = run(dense_lse, [leaf.double() for leaf in leaves], make, rule, grads, **settings)
    found = run(backend, leaves, make, rule, grads.float(), normalize=True, **settings)
    assert_same(found, ([v.float() for v in exact[0]], [g.to(leaves[0].dtype) for g in exact[1]]), rtol=rtol)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [100, 2300])
def test_the_backend_that_is_chosen(form, rule, batch):
    check(similarity.pair_lse, operands(form, batch), rule, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("statistic", ["logsumexp", "max"])
def test_tiles(form, statistic, monkeypatch):
    monkeypatch.setattr("circlet.similarity.blocks.GPU_TILING", similarity.tiles.Tiling(256, 512, 0))
    check(tiles.pair_lse, operands(form, 1100), Circle(), rtol=1e-4, statistic=statistic)


def test_which_backend_is_chosen(monkeypatch):
    chosen = []
    for backend in (dense, similarity.whole, gpu, tiles):
        name = backend.__name__.rpartition(".")[2]
        monkeypatch.setattr(backend, "pair_lse", lambda *_, name=name, **__: chosen.append(name))
    for form, batch, dtype in (("pair", 64, torch.float32), ("pair", 2300, torch.float32),
                               ("class", 2300, torch.bfloat16), ("mask", 2300, torch.float32),
                               ("pair", 2300, torch.float64)):  # fmt: skip
        leaves, make = operands(form, batch, dtype=dtype)
        similarity.pair_lse(make(*leaves), Circle(), normalize=True)
    assert chosen == ["whole", "gpu", "gpu", "whole", "whole"]
    chosen.clear()
    monkeypatch.setattr(similarity, "WHOLE_PAIRS_GPU", 2**20)
    leaves, make = operands("pair", 2300)
    similarity.pair_lse(make(*leaves), Circle(), normalize=True, statistic="max")
    monkeypatch.setattr(similarity, "USE_TRITON", False)
    similarity.pair_lse(make(*leaves), Circle(), normalize=True)
    assert chosen == ["tiles", "tiles"]


def test_without_a_compiler_tiles_take_their_place(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("Failed to find C compiler")

    gpu._runs.cache_clear()
    monkeypatch.setattr("circlet.similarity.gpu.rows.prepare", refuse)
    leaves, make = operands("pair", 2300)
    with pytest.warns(UserWarning, match="do not run here.*Failed to find C compiler"):
        assert not gpu.supports(make(*leaves), Circle(), "logsumexp")
    gpu._runs.cache_clear()


def waits(backend, leaves, make):
    """Where a step waited for the GPU."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    pairs = make(*leaves)

    def step():
        lse = backend(pairs, Circle(), normalize=True)
        (lse.pos + lse.neg).sum().backward()

    step()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{w.filename}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["pair", "class"])
def test_the_kernels_wait_for_nothing(form, dtype):
    assert waits(gpu.pair_lse, *operands(form, 2300, dtype=dtype)) == []


@pytest.mark.parametrize("form", FORMS)
def test_tiles_do_not_wait_in_their_loop(form, monkeypatch):
    case = operands(form, 1100)
    found = []
    for tiling in (similarity.tiles.Tiling(256, 512, 0), similarity.tiles.Tiling(2048, 4096, 0)):
        monkeypatch.setattr("circlet.similarity.blocks.GPU_TILING", tiling)
        found.append(waits(tiles.pair_lse, *case))
    assert found[0] == found[1]
    assert len(found[0]) <= 4


@pytest.mark.parametrize("references", [None, "classes"])
def test_a_loss_can_be_captured_in_a_graph(references):
    """Which a wait for the GPU would make impossible."""
    x = torch.randn(2300, 48, device="cuda", requires_grad=True)
    labels = torch.randint(0, 2500, (2300,), device="cuda")
    classes = None if references is None else torch.randn(2500, 48, device="cuda", requires_grad=True)
    loss = circlet.CircleLoss()

    def step():
        x.grad = None
        value = loss(x, labels, classes)
        value.backward()
        return value.detach()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        expected = step()
        expected_grad = x.grad
    torch.cuda.current_stream().wait_stream(stream)
    x.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    graph.replay()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(x.grad, expected_grad)


def test_under_autocast_and_compiled():
    net = torch.nn.Linear(64, 48, device="cuda")
    x, labels = torch.randn(2300, 64, device="cuda"), torch.randint(0, 300, (2300,), device="cuda")
    loss = circlet.CircleLoss()
    with torch.autocast("cuda", torch.bfloat16):
        embeddings = net(x)
        value = loss(embeddings, labels)
        compiled = torch.compile(lambda x: loss(net(x), labels))(x)
    assert embeddings.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    torch.testing.assert_close(compiled, value, rtol=1e-2, atol=0)
    compiled.backward()
    assert net.weight.grad.isfinite().all()
