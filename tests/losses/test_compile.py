"""torch.compile takes every loss whole (fullgraph), forward and backward."""

import pytest
import torch

import circlet
from tests.losses.cases import LOSSES, batch

pytestmark = [
    pytest.mark.compile,
    # inductor's own import of torch.utils.mkldnn
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("level", ["pair", "class", "joint"])
def test_fullgraph(loss, level):
    torch.compiler.reset()
    embeddings, labels = batch(dtype=torch.float32)
    classes = circlet.ClassWeights(5, embeddings.shape[1])
    references = {"pair": None, "class": classes, "joint": [classes, None]}[level]
    # aot_eager traces the same graph as inductor, forward and backward, without a minute of C++ a case
    backend = "inductor" if loss is LOSSES["circle"] else "aot_eager"
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    results = []
    for function in (loss, compiled):
        leaf = embeddings.clone().requires_grad_()
        value = function(leaf, labels, references)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
