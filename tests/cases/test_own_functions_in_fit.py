"""What users hand to `fit`, their functions, models and objectives, may hold more than plain numbers and parameters."""

import numpy as np
import pytest
import torch
from torch import nn

import circlet
from circlet.training import LoopConfig, RunFolder, fit, load
from circlet.training.loop import _alike
from tests.training.tiny import Batches, Net, run


class Masked(Net):
    """With an attention mask, and a state of its own that is no tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
        self.places = {"windows": [1, 2]}

    def get_extra_state(self):
        return self.places

    def set_extra_state(self, state):
        self.places = state


def fitted(model, folder, **changes):
    fit(model, circlet.CircleLoss(gamma=32.0), Batches(), LoopConfig(checkpoint_every=1, **changes), folder)
    return RunFolder(folder)


def test_numbers_of_numpy_and_torch_are_logged_and_gone_on_from(tmp_path):
    def validate(model):
        return {"map@r": np.float64(0.5), "recall@1": torch.tensor(0.25), "whole": True}

    def observe(objective, embeddings, labels):
        return {"spread": embeddings.std(), "rows": np.int64(len(labels)), "some": np.bool_(True)}

    for steps in (2, 4):
        _, _, folder = run(
            tmp_path / "run", steps=steps, log_every=1, validate_every=1, validate=validate, observe=observe
        )
    lines = folder.read_metrics()
    assert [line["rows"] for line in lines if "rows" in line] == [16.0] * 4
    assert [line["validation_map@r"] for line in lines if "validation_map@r" in line] == [0.5] * 4
    assert load(folder.last, to_go_on=True)["best"] == 0.5


def test_a_validation_without_a_metric_is_refused(tmp_path):
    with pytest.raises(ValueError, match="validate: found no metric, expected at least the one"):
        run(tmp_path / "run", steps=1, validate_every=1, validate=lambda model: {})


@pytest.mark.parametrize("value", ["0.5", None, [0.5], torch.zeros(2)])
def test_what_is_no_number_is_refused_at_once(tmp_path, value):
    with pytest.raises(ValueError, match=r"validate: found .* as map@r, expected a number"):
        run(tmp_path / "a", steps=1, validate_every=1, validate=lambda model: {"map@r": value})
    with pytest.raises(ValueError, match=r"observe: found .* as spread, expected a number"):
        run(tmp_path / "b", steps=1, log_every=1, observe=lambda *_: {"spread": value})


def test_a_mask_of_infinities_and_a_state_that_is_no_tensor(tmp_path):
    fitted(Masked(), tmp_path / "run", steps=1)
    again = Masked()
    again.places = {}
    fitted(again, tmp_path / "run", steps=2)
    assert again.places == {"windows": [1, 2]}
    assert again.mask.isinf().any()


def test_nan_in_a_buffer_and_infinity_in_a_parameter_are_not_saved(tmp_path):
    broken = Masked()
    broken.mask[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="found NaN or infinity in the weights"):
        fitted(broken, tmp_path / "buffer", steps=1)
    infinite = Masked()
    infinite.unused = nn.Parameter(torch.tensor([torch.inf]))
    with pytest.raises(FloatingPointError, match="found NaN or infinity in the weights"):
        fitted(infinite, tmp_path / "parameter", steps=1)
    assert not (tmp_path / "buffer" / "last.pt").exists()


def test_an_objective_that_shows_its_gpu_is_the_same_on_each():
    class Shown(nn.Module):
        def __init__(self, device):
            super().__init__()
            self.device = device

        def extra_repr(self):
            return f"device={self.device}, gamma=32"

    one, other, cpu = (_alike(Shown(device), Batches(), LoopConfig()) for device in ("cuda:0", "cuda:11", "cpu"))
    assert one == other != cpu
    assert "gamma=32" in one["objective"]
