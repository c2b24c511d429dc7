"""torch.compile takes every loss whole (fullgraph), forward and backward."""

import pytest
import torch

import circlet
from tests.losses.cases import CENTRES, EVERY_LOSS, LOSSES, batch
from tests.thorough import in_turn

pytestmark = [
    pytest.mark.compile,
    # inductor's own import of torch.utils.mkldnn
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]

LEVELS = ["pair", "class", "joint"]
WHOLE = {name: loss for name, loss in EVERY_LOSS.items() if name not in (*CENTRES, "circle")}


@pytest.mark.parametrize(("name", "level"), in_turn(WHOLE, LEVELS))
def test_fullgraph(name, level):
    # aot_eager traces the same graph as inductor, forward and backward, without a minute of C++ a case
    assert_same_compiled(WHOLE[name], level, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize(("level", "backend"), [("pair", "aot_eager"), ("class", "aot_eager"), ("joint", "inductor")])
def test_circle_at_every_level(level, backend):
    assert_same_compiled(LOSSES["circle"], level, fullgraph=True, backend=backend)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")
@pytest.mark.parametrize(("name", "level"), in_turn(CENTRES, LEVELS))
def test_looking_within_classes_breaks_the_graph(name, level):
    assert_same_compiled(CENTRES[name], level, fullgraph=False, backend="aot_eager")


@pytest.mark.parametrize("kind", [circlet.AdaFaceLoss, circlet.CurricularFaceLoss])
def test_state_moves_on_in_compiled_code(kind):
    torch.compiler.reset()
    embeddings, labels = batch(dtype=torch.float32)
    weights = circlet.ClassWeights(5, embeddings.shape[1]).weight.detach()
    losses = [kind(), kind()]
    functions = [losses[0], torch.compile(losses[1], fullgraph=True, backend="aot_eager")]
    for step in range(3):
        values = [function(embeddings * (step + 1), labels, weights) for function in functions]
        torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-5)
    states = [dict(loss.named_buffers()) for loss in losses]
    torch.testing.assert_close(states[1], states[0])
    assert states[0].keys() == kind.first_state.keys()
    assert all(float(states[0][name]) != value for name, value in kind.first_state.items())


@pytest.mark.parametrize("loss", ["circle", "nca", "supcon", "magface"])
def test_large_batches(loss):
    """In tiles, or in several blocks of rows."""
    assert_same_compiled(EVERY_LOSS[loss], "pair", fullgraph=True, backend="aot_eager", num_classes=500)


def assert_same_compiled(loss, level, *, fullgraph, backend, num_classes=5):
    torch.compiler.reset()
    embeddings, labels = batch(num_classes, dtype=torch.float32)
    classes = circlet.ClassWeights(num_classes, embeddings.shape[1])
    references = {"pair": None, "class": classes, "joint": [classes, None]}[level]
    compiled = torch.compile(loss, fullgraph=fullgraph, backend=backend)
    results = []
    for function in (loss, compiled):
        leaf = embeddings.clone().requires_grad_()
        value = function(leaf, labels, references)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
