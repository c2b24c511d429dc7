"""Forward-mode differentiation and the transforms of torch.func are right on every path, or refused by name."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import circlet
from circlet import similarity
from circlet.losses import pair_loss
from circlet.references import ranks
from circlet.rules import Circle
from circlet.similarity import dense, in_row_blocks
from circlet.similarity.native import native
from tests.losses.cases import CENTRES, EVERY_LOSS, batch, with_reduction
from tests.similarity.cases import FORMS, operands, tiled, whole_lse

# torch's own, of the rules that it has for forward-mode differentiation
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

every_loss = pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=EVERY_LOSS.keys())
both_sizes = pytest.mark.parametrize("whole_pairs", [similarity.WHOLE_PAIRS, 0], ids=["one matrix", "tiles"])


def case(loss, **settings):
    """A loss as a function of the embeddings, these, a direction, and the gradient by backward."""
    embeddings, labels = batch(num_classes=4, per_class=3, dim=6, **settings)
    along = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1), dtype=embeddings.dtype)

    def function(rows):
        return loss(rows, labels)

    leaf = embeddings.clone().requires_grad_()
    return function, embeddings, along, torch.autograd.grad(function(leaf), leaf)[0]


def tangent(function, primal, along):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(primal, along))).tangent


@every_loss
@both_sizes
def test_every_loss_forward_reverse_and_batched(loss, whole_pairs, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    function, embeddings, along, gradient = case(loss)
    close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-11)
    expected = (gradient * along).sum()
    value, forward = jvp(function, (embeddings,), (along,))
    close(value, function(embeddings))
    close(forward, expected)
    close(tangent(function, embeddings, along), expected)
    close(grad(function)(embeddings), gradient)
    close(vmap(function)(torch.stack([embeddings, along])), torch.stack([function(embeddings), function(along)]))


def test_1024_rows_by_themselves():
    """More than one matrix is for: the tiles would take over."""
    embeddings, labels = batch(num_classes=256, per_class=4, dim=4)
    assert len(labels) ** 2 > similarity.WHOLE_PAIRS
    along = torch.ones_like(embeddings)
    for name in ("circle", "triplet"):
        leaf = embeddings.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(EVERY_LOSS[name](leaf, labels), leaf)
        forward = jvp(lambda rows, name=name: EVERY_LOSS[name](rows, labels), (embeddings,), (along,))[1]
        assert float(forward) != 0
        torch.testing.assert_close(forward, (gradient * along).sum())


@pytest.mark.parametrize("name", ["circle", "triplet", "supcon", "proxy_anchor"])
@both_sizes
def test_class_weights_are_differentiated_too(name, whole_pairs, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    embeddings, labels = batch(num_classes=4, per_class=3, dim=6)
    classes = circlet.ClassWeights(4, 6).double()
    inputs = embeddings.requires_grad_(), classes.weight
    function = partial(EVERY_LOSS[name], labels=labels)
    expected = torch.autograd.grad(function(embeddings, references=classes), inputs)
    inputs = [value.detach() for value in inputs]

    def of_both(rows, weight):
        return function(rows, references=weight)

    value, pull = vjp(of_both, *inputs)
    for found in (grad(of_both, argnums=(0, 1))(*inputs), pull(torch.ones_like(value))):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
    forward = jvp(of_both, tuple(inputs), tuple(map(torch.ones_like, inputs)))[1]
    torch.testing.assert_close(forward, sum(gradient.sum() for gradient in expected))


def test_parameters_of_a_module_by_functional_call():
    embeddings, labels = batch(num_classes=4, per_class=3, dim=6)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.classes, self.loss = circlet.ClassWeights(4, 6).double(), circlet.CircleLoss()

        def forward(self, rows):
            return self.loss(rows, labels, [self.classes, None])

    model = Model()
    (expected,) = torch.autograd.grad(model(embeddings), model.classes.weight)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    found = grad(lambda values: functional_call(model, values, (embeddings,)))(parameters)
    torch.testing.assert_close(found["classes.weight"], expected)


@both_sizes
def test_memory_bank(whole_pairs, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    bank = circlet.MemoryBank(size=8, embedding_dim=6).double()
    rows, ids = batch(num_classes=4, per_class=2, dim=6, seed=3)
    bank.update(rows, ids)
    for name in ("circle", "triplet", "supcon"):
        loss = EVERY_LOSS[name]
        function, embeddings, along, gradient = case(lambda e, labels, loss=loss: loss(e, labels, [None, bank]))
        torch.testing.assert_close(jvp(function, (embeddings,), (along,))[1], (gradient * along).sum())
        torch.testing.assert_close(grad(function)(embeddings), gradient)


@pytest.mark.parametrize("name", ["circle", "triplet", "multi_similarity"])
@both_sizes
def test_a_class_that_is_missing_from_one_of_the_sources(name, whole_pairs, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    bank = circlet.MemoryBank(size=8, embedding_dim=6).double()
    bank.update(*batch(num_classes=2, per_class=2, dim=6, seed=3))  # of four
    weights = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for sources in ([None, bank], [bank, None], [weights, bank, None]):
        function, embeddings, along, gradient = case(lambda e, labels, s=sources: EVERY_LOSS[name](e, labels, s))
        expected = (gradient * along).sum()
        torch.testing.assert_close(jvp(function, (embeddings,), (along,))[1], expected)
        torch.testing.assert_close(tangent(function, embeddings, along), expected)


@pytest.mark.parametrize("name", ["circle", "triplet", "supcon", "arcface"])
def test_a_loss_for_each_of_many_batches_with_labels_of_their_own(name):
    loss = EVERY_LOSS[name]
    batches, labels = zip(*(batch(num_classes=4, per_class=3, dim=6, seed=seed) for seed in range(3)), strict=True)
    rows = torch.stack(batches)
    labels = torch.stack([ids.roll(shift) for shift, ids in enumerate(labels)])
    weights = torch.randn(4, 6, dtype=torch.float64)
    for function in (loss, lambda rows, labels: loss(rows, labels, weights)):
        expected = torch.stack([function(*pair) for pair in zip(rows, labels, strict=True)])
        torch.testing.assert_close(vmap(function)(rows, labels), expected)
        gradients = torch.stack([grad(function)(*pair) for pair in zip(rows, labels, strict=True)])
        torch.testing.assert_close(vmap(grad(function))(rows, labels), gradients)


@pytest.mark.parametrize("name", ["supcon", "magface", "contrastive"])
def test_blocks_of_rows(name, monkeypatch):
    monkeypatch.setattr(pair_loss, "in_row_blocks", partial(in_row_blocks, block_pairs=30))
    function, embeddings, along, gradient = case(EVERY_LOSS[name])
    torch.testing.assert_close(jvp(function, (embeddings,), (along,))[1], (gradient * along).sum())
    torch.testing.assert_close(grad(function)(embeddings), gradient)
    two = torch.stack([embeddings, along])
    torch.testing.assert_close(vmap(function)(two), torch.stack([function(row) for row in two]))


@pytest.mark.parametrize("name", ["unified", "circle", "triplet", "supcon", "multi_similarity"])
@both_sizes
def test_second_derivatives(name, whole_pairs, monkeypatch):
    """What a rule detaches is constant in them, as in the definition by autograd."""
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    function, embeddings, along, _ = case(EVERY_LOSS[name])
    found = hessian(function)(embeddings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_loss, "pair_lse", dense.pair_lse)
        patch.setattr(pair_loss, "mean_softplus", lambda *_, **__: None)
        leaf = embeddings.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(function(leaf), leaf, create_graph=True)
        (expected,) = torch.autograd.grad((gradient * along).sum(), leaf)
    torch.testing.assert_close((found * along[:, :, None, None]).sum((0, 1)), expected, rtol=1e-8, atol=1e-9)
    twice = grad(lambda rows: (grad(function)(rows) * along).sum())(embeddings)
    torch.testing.assert_close(twice, expected, rtol=1e-8, atol=1e-9)


def test_second_derivatives_are_slopes_of_the_gradient():
    function, embeddings, along, _ = case(EVERY_LOSS["unified"])
    step = 1e-6
    ahead, behind = (grad(function)(embeddings + sign * step * along) for sign in (1, -1))
    found = (hessian(function)(embeddings) * along).sum((2, 3))
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)


@both_sizes
def test_jacobians_of_the_losses_of_all_anchors(whole_pairs, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    loss = with_reduction(EVERY_LOSS["circle"], "none")
    embeddings, labels = batch(num_classes=4, per_class=3, dim=6)

    def function(rows):
        return loss(rows, labels)

    leaf = embeddings.clone().requires_grad_()
    losses = function(leaf)
    expected = torch.stack([torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in losses])
    torch.testing.assert_close(jacrev(function)(embeddings), expected)
    torch.testing.assert_close(jacfwd(function)(embeddings), expected)


@pytest.mark.parametrize("form", FORMS)
def test_many_gradients_at_once(form):
    """By the one matrix they are right, by tiles refused."""
    leaves, make = operands(form, 9, dim=5)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    many = torch.eye(9, dtype=torch.float64)
    lse = whole_lse(make(*leaves), Circle()).neg
    found = torch.autograd.grad(lse, leaves, many, is_grads_batched=True, retain_graph=True)
    each = [torch.autograd.grad(lse, leaves, row, retain_graph=True) for row in many]
    for one, other in zip(found, zip(*each, strict=True), strict=True):
        torch.testing.assert_close(one, torch.stack(other))
    lse = tiled(make(*leaves), Circle()).neg
    with pytest.raises(NotImplementedError, match="backward pass of the loss under vmap"):
        torch.autograd.grad(lse, leaves, many, is_grads_batched=True)


def test_many_gradients_at_once_by_kernels_are_refused():
    leaf = torch.randn(8, 4, requires_grad=True)
    loss = circlet.CircleLoss()(leaf, torch.arange(8) // 2)
    if native(leaf.dtype, leaf.device) is None:
        return
    with pytest.raises(NotImplementedError, match="backward pass of the loss under vmap"):
        torch.autograd.grad(loss, leaf, torch.ones(3), is_grads_batched=True)


def test_many_gradients_at_once_over_ranks_are_refused():
    kept = SimpleNamespace(saved_tensors=[None] * 4)
    with pytest.raises(NotImplementedError, match="backward pass of the loss under vmap"):
        vmap(lambda grads: ranks._Across.backward(kept, grads)[0])(torch.zeros(2, 3))


def test_double_backward_says_what_works():
    function, embeddings, _, _ = case(EVERY_LOSS["circle"])
    leaf = embeddings.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"cannot be differentiated again \(double backward\); under torch.func"):
        gradient.sum().backward()
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.functional.hessian(function, embeddings)


@pytest.mark.parametrize("name", ["circle", "triplet", "supcon"])
def test_too_many_pairs_are_refused_and_backward_is_not(name, monkeypatch):
    monkeypatch.setattr(dense, "TRANSFORMED_PAIRS", 100)
    function, embeddings, along, gradient = case(EVERY_LOSS[name])
    message = "found a loss of 144 pairs under forward-mode .* expected at most 100"
    for transformed in (
        lambda: jvp(function, (embeddings,), (along,)),
        lambda: tangent(function, embeddings, along),
        lambda: grad(function)(embeddings),
    ):
        with pytest.raises(NotImplementedError, match=message):
            transformed()
    leaf = embeddings.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(function(leaf), leaf)[0], gradient)


@pytest.mark.parametrize("kind", [circlet.AdaFaceLoss, circlet.CurricularFaceLoss])
def test_a_loss_that_moves_on_in_training_is_refused_then(kind):
    loss = kind()
    before = {name: value.clone() for name, value in loss.named_buffers()}
    embeddings, labels = batch(num_classes=4, per_class=3, dim=6)
    with pytest.raises(NotImplementedError, match=f"{kind.__name__}: found in training mode under a transform"):
        jvp(lambda rows: loss(rows, labels), (embeddings,), (embeddings,))
    torch.testing.assert_close(dict(loss.named_buffers()), before)


def test_several_ranks_are_refused(monkeypatch):
    monkeypatch.setattr(ranks, "num_ranks", lambda group: 2)
    embeddings, labels = batch()
    with pytest.raises(ValueError, match="references: found a source over several ranks under forward-mode"):
        grad(lambda rows: circlet.CircleLoss()(rows, labels, circlet.AllRanks()))(embeddings)


def test_one_rank_is_the_batch_itself():
    function, embeddings, along, gradient = case(
        lambda rows, labels: circlet.CircleLoss()(rows, labels, circlet.AllRanks())
    )
    torch.testing.assert_close(jvp(function, (embeddings,), (along,))[1], (gradient * along).sum())


@pytest.mark.parametrize("name", ["circle", "triplet", "supcon"])
def test_zero_rows_have_no_forward_derivative(name):
    loss = EVERY_LOSS[name]
    embeddings, labels = batch(num_classes=4, per_class=3, dim=6)
    embeddings[2] = 0.0
    gradient = grad(loss)(embeddings, labels)
    assert gradient.isfinite().all()
    assert (gradient[2] == 0).all()
    forward = jvp(lambda rows: loss(rows, labels), (embeddings,), (torch.ones_like(embeddings),))[1]
    torch.testing.assert_close(forward, gradient.sum())


def test_a_label_beyond_the_classes_is_found_where_it_can_be_seen():
    embeddings, labels = batch(num_classes=4, per_class=3, dim=6)
    weights = torch.randn(3, 6, dtype=torch.float64)
    with pytest.raises(ValueError, match="labels: found class id 3, expected 0 to 2"):
        grad(lambda rows: circlet.CircleLoss()(rows, labels, weights))(embeddings)


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_code_has_a_forward_derivative(monkeypatch):
    """The operators of compiled code have none, and gave 0 or None for it, silently."""
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", 0)
    function, embeddings, along, gradient = case(EVERY_LOSS["circle"])
    expected = (gradient * along).sum()

    def compiled(call):
        torch.compiler.reset()
        return torch.compile(call, fullgraph=True, backend="aot_eager")

    forward = compiled(lambda rows, along: jvp(function, (rows,), (along,))[1])
    torch.testing.assert_close(forward(embeddings, along), expected)
    torch.testing.assert_close(compiled(grad(function))(embeddings), gradient)
    within = compiled(function)  # first without a dual number, so that what was compiled then must not be used again
    torch.testing.assert_close(within(embeddings), function(embeddings))
    torch.testing.assert_close(tangent(within, embeddings, along), expected)


def test_losses_within_classes_need_labels_that_are_the_same_for_all():
    for loss in CENTRES.values():
        embeddings, labels = batch(num_classes=4, per_class=3, dim=6)
        two = torch.stack([embeddings, embeddings])
        with pytest.raises(RuntimeError, match="dynamic"):
            vmap(loss)(two, torch.stack([labels, labels]))
