"""The operators keep torch's contracts: opcheck, autocast, no double backward, and no hidden memory."""

import subprocess
import sys

import pytest
import torch

from circlet.rules import Circle
from circlet.similarity import operators, tiles
from circlet.similarity.blocks import Tiling
from circlet.similarity.pairs import Pairs
from circlet.similarity.positives import ranges, sort_by_label, sorted_positives
from circlet.similarity.spec import spec_of
from circlet.similarity.symmetric import symmetric_lse
from tests.forks import FORKS, what_was_said
from tests.memory import peak_beyond
from tests.similarity.cases import FORMS, operands, run, tiled

SETTINGS = (*spec_of(Circle()), True, 8, 16)
SEEN_BY_COMPILE = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


@pytest.mark.slow
@SEEN_BY_COMPILE
@pytest.mark.parametrize("form", FORMS)
def test_opcheck(form):
    leaves, make = operands(form, 21, dtype=torch.float32)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    pairs = make(*leaves)
    x, y = pairs.anchors, pairs.anchors if pairs.references is None else pairs.references
    positives, own = sorted_positives(pairs), pairs.references is None
    if form == "pair":
        torch.library.opcheck(operators.symmetric_operator, (x, positives[0], positives[2], *SETTINGS))
    torch.library.opcheck(operators.cross_operator, (x, y, *positives, own, *SETTINGS))
    torch.library.opcheck(operators.hardest_operator, (x.detach(), y.detach(), *positives, own, *SETTINGS))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_opcheck_backward(form):
    leaves, make = operands(form, 21, dtype=torch.float32)
    pairs = make(*leaves)
    x, y = pairs.anchors, pairs.anchors if pairs.references is None else pairs.references
    positives, own = sorted_positives(pairs), pairs.references is None
    lse = operators.cross_operator(x, y, *positives, own, *SETTINGS)
    arrived = torch.rand(2, 21)
    if form == "pair":
        arguments = (x, positives[0], positives[2], lse, arrived, *SETTINGS)
        torch.library.opcheck(operators.symmetric_operator_backward, arguments)
    for needs in ((True, True), (True, False), (False, True)):
        arguments = (x, y, *positives, lse, arrived, *needs, own, *SETTINGS)
        torch.library.opcheck(operators.cross_operator_backward, arguments)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("statistic", ["logsumexp", "max"])
def test_autocast_changes_nothing(form, statistic):
    leaves, make = operands(form, 21, dtype=torch.float32)
    expected = run(tiled, leaves, make, Circle(), statistic=statistic)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(tiled, leaves, make, Circle(), statistic=statistic)
    for value, reference in zip(found[0] + found[1], expected[0] + expected[1], strict=True):
        assert torch.equal(value, reference)


@pytest.mark.parametrize("form", FORMS)
def test_double_backward_is_refused(form):
    leaves, make = operands(form, 21)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    lse = tiled(make(*leaves), Circle())
    (grad,) = torch.autograd.grad(lse.neg.exp().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        grad.sum().backward()


def test_nothing_is_kept_without_a_gradient():
    leaves, make = operands("pair", 37)
    pairs = make(*leaves)
    order, labels = sort_by_label(pairs.labels)
    kept = symmetric_lse(pairs.anchors, order, ranges(labels, labels), Circle(), True, Tiling(8, 16, 0))[1]
    assert kept.place(0, 1, 1) is None
    lse = tiled(pairs, Circle())
    assert not lse.pos.requires_grad


FIRST_CALL = """
import sys, torch, circlet
x, labels = torch.randn(1024, 8, requires_grad=True), torch.arange(1024) // 4
loss = circlet.CircleLoss()
before = set(sys.modules)
loss(x, labels).backward()
loss(x, labels % 4, torch.randn(2000, 8, requires_grad=True)).backward()
circlet.TripletLoss()(x, labels).backward()
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.mark.subprocess
def test_the_first_call_loads_no_compiler():
    found = subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, check=True).stdout
    assert "sympy" not in found
    assert "torch" not in found.split()


def peak_of_a_step(batch, num_classes, statistic, said):
    """MiB that a step takes beyond its operands, in a process of its own."""
    torch.set_num_threads(1)
    step(600, num_classes and 3000, 64, statistic)
    said.send(step(batch, num_classes, 64, statistic))


def step(batch, num_classes, dim, statistic):
    x = torch.randn(batch, dim, requires_grad=True)
    if num_classes:
        y = torch.randn(num_classes, dim, requires_grad=True)
        pairs = Pairs(x, y, torch.randint(0, num_classes, (batch,)), torch.arange(num_classes))
    else:
        pairs = Pairs(x, None, torch.randperm(batch) // 4, None)

    def there_and_back():
        lse = tiles.pair_lse(pairs, Circle(), normalize=True, statistic=statistic)
        torch.logaddexp(lse.pos + lse.neg, torch.zeros(())).mean().backward()

    return peak_beyond(there_and_back)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("statistic", ["logsumexp", "max"])
@pytest.mark.parametrize(("batch", "num_classes", "limit_mib"), [(6144, 0, 56), (512, 100_000, 60)])
def test_memory_stays_far_below_the_matrix(statistic, batch, num_classes, limit_mib):
    """The matrix alone would be 144 and 195 MiB; the gradients, which count here, are 2 and 24 MiB."""
    heard, said = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=peak_of_a_step, args=(batch, num_classes, statistic, said))
    process.start()
    said.close()  # our copy
    assert what_was_said(heard)[0] < limit_mib
    process.join()
