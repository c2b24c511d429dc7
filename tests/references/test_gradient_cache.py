"""The gradient cache against the full batch."""

import pytest
import torch
from torch import nn

import circlet
from circlet.training.gradient_cache import gradient_cache


def model_of(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))


IMAGES, LABELS = torch.randn(11, 6, dtype=torch.float64), torch.arange(11) % 3


@pytest.mark.parametrize("chunk_size", [1, 4, 11, 100])
@pytest.mark.parametrize("level", ["pair", "joint"])
def test_equals_the_full_batch(chunk_size, level):
    results = []
    for chunked in (False, True):
        model, classes = model_of().double(), circlet.ClassWeights(3, 4).double()
        references = None if level == "pair" else [classes, None]

        def loss(embeddings, labels, references=references):
            return circlet.CircleLoss()(embeddings, labels, references)

        if chunked:
            value = gradient_cache(model, loss, IMAGES, LABELS, chunk_size)
            assert not value.requires_grad
        else:
            value = loss(model(IMAGES), LABELS)
            value.backward()
        parameters = [*model.parameters(), *(classes.parameters() if level == "joint" else [])]
        results.append([value.detach(), *(parameter.grad for parameter in parameters)])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_dropout_draws_the_same_numbers_and_the_generator_moves_on_once():
    model = nn.Sequential(model_of(), nn.Dropout(0.5))
    images, seen = IMAGES.float(), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    torch.manual_seed(1)
    gradient_cache(model, circlet.CircleLoss(), images, LABELS, 4)
    after = torch.rand(())
    torch.testing.assert_close(seen[3:], seen[:3], rtol=0, atol=0)
    torch.manual_seed(1)
    [model(chunk) for chunk in images.split(4)]
    assert torch.rand(()) == after


def test_autocast():
    model = model_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gradient_cache(model, circlet.CircleLoss(), IMAGES.float(), LABELS, 4)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_bad_input():
    with pytest.raises(ValueError, match="chunk_size: found 0, expected at least 1"):
        gradient_cache(model_of(), circlet.CircleLoss(), IMAGES.float(), LABELS, 0)
    with pytest.raises(ValueError, match=r"loss: found shape \(11,\), expected a scalar"):
        gradient_cache(model_of(), circlet.CircleLoss(reduction="none"), IMAGES.float(), LABELS, 4)
