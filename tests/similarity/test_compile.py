"""torch.compile takes the tiled forms whole, and with the dispatch before them."""

import pytest
import torch

from circlet import similarity
from circlet.rules import Circle
from tests.similarity.cases import FORMS, assert_same, operands, run

pytestmark = [
    pytest.mark.compile,
    # inductor's own import of torch.utils.mkldnn
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("statistic", ["logsumexp", "max"])
def test_fullgraph(form, statistic, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", 0)
    torch.compiler.reset()
    backend = "inductor" if (form, statistic) == ("pair", "logsumexp") else "aot_eager"
    compiled = torch.compile(similarity.pair_lse, fullgraph=True, backend=backend)
    for batch in (37, 41):  # the second with dynamic shapes
        case = operands(form, batch)
        settings = {"normalize": True, "statistic": statistic}
        expected = run(similarity.pair_lse, *case, Circle(), **settings)
        assert_same(run(compiled, *case, Circle(), **settings), expected)
