"""Heads in closed form: against matrix roots in float64, and what they must not depend on."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.data import DataError
from circlet.models import Embedder, SmallResNet
from circlet.transfer import LinearMap, WithinClasses, head_of, projected, set_head, unchanged

SHRINKAGES = st.sampled_from([0.0, 0.1, 1.0, 10.0])


def a_set(seed, n=40, features=6, num_classes=8):
    """Float64 features of classes of about equal size, of which some directions differ more than others."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % num_classes
    centres = torch.randn(num_classes, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, features, generator=generator, dtype=torch.float64)
    return centres[labels] + noise * torch.linspace(0.2, 2, features, dtype=torch.float64), labels


def spread_of(features, labels):
    """The covariance within classes, one image at a time."""
    rows = features.double().numpy()
    means = {c: rows[labels.numpy() == c].mean(0) for c in labels.unique().tolist()}
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for row, label in zip(rows, labels.tolist(), strict=True):
        total += np.outer(row - means[label], row - means[label])
    return total / len(rows)


def cosines(embeddings):
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1)
    return unit @ unit.T


def same(one, other, tolerance=2e-4):
    torch.testing.assert_close(cosines(one), cosines(other), atol=tolerance, rtol=0)


@given(seed=st.integers(0, 999), shrinkage=st.sampled_from([0.1, 0.3, 1.0]), features=st.sampled_from([3, 12, 39, 60]))
def test_whitening_is_the_inverse_root(seed, shrinkage, features):
    """More images than features, and fewer, where most directions are not seen to differ."""
    rows, labels = a_set(seed, features=features)
    spread = spread_of(rows, labels)
    average = np.trace(spread) / features
    root = scipy.linalg.fractional_matrix_power(spread + shrinkage * average * np.eye(features), -0.5)
    scale = np.sqrt(average + shrinkage * average)  # a direction of average variance keeps its length
    found = WithinClasses(rows, labels).whitening(shrinkage)
    np.testing.assert_allclose(found.weight.double(), scale * root, atol=2e-5)
    mean = rows.numpy().mean(0)
    np.testing.assert_allclose(found.bias.double(), -scale * root @ mean, atol=2e-4)
    np.testing.assert_allclose(found(rows.float()).double(), (rows.numpy() - mean) @ (scale * root), atol=5e-4)


@given(seed=st.integers(0, 999), shrinkage=SHRINKAGES, scale=st.sampled_from([1e-3, 0.5, 7.0, 1e3]))
@settings(max_examples=30)
def test_cosines_do_not_depend_on_the_scale_of_features(seed, shrinkage, scale):
    rows, labels = a_set(seed)
    expected = WithinClasses(rows, labels).whitening(shrinkage)(rows.float())
    same(WithinClasses(scale * rows, labels).whitening(shrinkage)((scale * rows).float()), expected)


@given(seed=st.integers(0, 999), shrinkage=SHRINKAGES, features=st.sampled_from([4, 50]))
@settings(max_examples=30)
def test_cosines_do_not_depend_on_rotation_order_or_names(seed, shrinkage, features):
    rows, labels = a_set(seed, features=features)
    if shrinkage == 0 and features > len(rows):
        shrinkage = 0.01  # directions not seen to differ are a thousand times as long: float32 is not enough
    generator = torch.Generator().manual_seed(seed)
    expected = WithinClasses(rows, labels).whitening(shrinkage)(rows.float())
    rotation, _ = torch.linalg.qr(torch.randn(features, features, generator=generator, dtype=torch.float64))
    rotated = rows @ rotation
    same(WithinClasses(rotated, labels).whitening(shrinkage)(rotated.float()), expected)
    order = torch.randperm(len(rows), generator=generator)
    same(WithinClasses(rows[order], labels[order]).whitening(shrinkage)(rows.float()), expected)
    renamed = 100 - 7 * torch.randperm(8, generator=generator)[labels]
    same(WithinClasses(rows, renamed).whitening(shrinkage)(rows.float()), expected)


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_much_shrinkage_is_centring(seed):
    rows, labels = a_set(seed)
    found = WithinClasses(rows, labels)
    same(found.whitening(1e9)(rows.float()), found.centring()(rows.float()), tolerance=1e-5)
    assert found.centring()(rows.float()).mean(0).abs().max() < 1e-5


def test_a_constant_feature_gains_nothing_without_end():
    rows, labels = a_set(0)
    rows[:, 2] = 5.0
    for shrinkage in (0.0, 0.1):
        weight, bias = WithinClasses(rows, labels).whitening(shrinkage)
        assert torch.isfinite(weight).all()
        assert torch.isfinite(bias).all()
        assert weight[2, 2] <= 1001 * (1 + shrinkage) ** 0.5
        assert abs(float(weight[2] @ rows[0].float() + bias[2])) < 0.05


@pytest.mark.parametrize("features", [3, 30])
def test_identical_images_are_left_as_they_are(features):
    found = WithinClasses(torch.full((8, features), 3.0), torch.arange(8) // 2)
    for shrinkage in (0.0, 0.3):
        torch.testing.assert_close(found.whitening(shrinkage).weight, torch.eye(features))
        assert found.whitening(shrinkage)(torch.full((1, features), 3.0)).abs().max() < 1e-5
    # Classes of one image many times over: nothing differs within, though classes differ.
    rows = torch.randn(4, features, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 0)
    found = WithinClasses(rows, torch.arange(8) // 2).whitening(0.1)
    same(found(rows), rows - rows.mean(0))


def test_one_image_of_each_class_is_an_error():
    with pytest.raises(DataError, match="labels: found 5 classes of one image each, expected some with two or more"):
        WithinClasses(torch.randn(5, 3), torch.arange(5))
    WithinClasses(torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 3]))  # one pair is enough


@pytest.mark.parametrize("shrinkage", [-0.1, float("nan")])
def test_bad_shrinkage(shrinkage):
    with pytest.raises(ValueError, match=f"shrinkage: found {shrinkage}, expected 0 or more"):
        WithinClasses(*a_set(0)).whitening(shrinkage)


@given(seed=st.integers(0, 999), dim=st.integers(1, 6))
@settings(max_examples=30)
def test_projection_keeps_the_directions_that_differ_most(seed, dim):
    rows, labels = a_set(seed)
    whole = WithinClasses(rows, labels).whitening(0.3)
    found = projected(whole, rows.float(), dim)
    assert found.weight.shape == (dim, 6)
    assert found.bias.shape == (dim,)
    kept = found(rows.float()).double()
    variances = kept.var(0, correction=0)
    expected = torch.linalg.svdvals((lambda x: x - x.mean(0))(whole(rows.float()).double())).square() / len(rows)
    torch.testing.assert_close(variances, expected[:dim], rtol=1e-3, atol=1e-4)
    if dim == 6:
        same(kept, whole(rows.float()))


@pytest.mark.parametrize("dim", [0, 7, -1])
def test_a_projection_upwards_is_an_error(dim):
    with pytest.raises(ValueError, match=f"embedding_dim: found {dim}, expected 1 to 6, the number of features"):
        projected(unchanged(6), torch.randn(9, 6), dim)


def test_a_model_takes_its_head():
    model = Embedder(SmallResNet(3), 5, image_size=(16, 16), pooling="average", head="linear")
    features = model.features(torch.rand(2, 3, 16, 16)).detach()
    head = LinearMap(torch.randn(5, features.shape[1]), torch.randn(5))
    set_head(model, head)
    torch.testing.assert_close(model.head(features), head(features))
    for mine, theirs in zip(head_of(model), head, strict=True):
        torch.testing.assert_close(mine, theirs)
    head_of(model).weight.zero_()
    assert model.head(features).abs().max() > 0  # a copy
