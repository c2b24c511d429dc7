"""Models: shapes, poolings against their formulas, heads, and embedding in batches."""

import math

import pytest
import torch
from torch import nn

from circlet.models import Embedder, SmallResNet, backbone, embed, pooling_layer


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pooling", ["own", "average", "max", "average+max", "gem", "flatten"])
@pytest.mark.parametrize("head", ["linear", "linear+bn", "bnneck", "none"])
def test_embedder_shapes(channels, pooling, head):
    model = Embedder(
        SmallResNet(channels, width=16), 12, image_size=(32, 24), channels=channels, pooling=pooling, head=head,
        mean=(0.5,), std=(0.25,),
    )  # fmt: skip
    expected = model.embedding_dim
    assert expected == (12 if head != "none" else 32 * (4 * 3 if pooling == "flatten" else 1))
    assert model(torch.rand(3, channels, 32, 24)).shape == (3, expected)


def test_uint8_and_float_images_are_the_same():
    model = Embedder(SmallResNet(), 8, image_size=(16, 16), channels=1, mean=(0.5,), std=(0.25,)).eval()
    images = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(model(images), model(images.float() / 255))


def test_pooling_formulas():
    x = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(pooling_layer("average")(x), x.mean((2, 3)))
    torch.testing.assert_close(pooling_layer("max")(x), x.amax((2, 3)))
    torch.testing.assert_close(pooling_layer("average+max")(x), x.mean((2, 3)) + x.amax((2, 3)))
    torch.testing.assert_close(pooling_layer("gem")(x), (x**3).mean((2, 3)) ** (1 / 3))
    torch.testing.assert_close(pooling_layer("flatten")(x), x.reshape(2, -1))
    torch.testing.assert_close(pooling_layer("own")(x), x.mean((2, 3)))
    assert torch.equal(pooling_layer("own")(x[:, :, 0, 0]), x[:, :, 0, 0])
    with pytest.raises(ValueError, match="pooling: found 'median', expected own, average"):
        pooling_layer("median")


def test_gem_goes_from_average_to_max_and_is_finite_at_zero():
    x = torch.rand(2, 3, 4, 4)
    gem = pooling_layer("gem")
    gem.p.data.fill_(1.0)
    torch.testing.assert_close(gem(x), x.mean((2, 3)))
    gem.p.data.fill_(200.0)
    torch.testing.assert_close(gem(x), x.amax((2, 3)), rtol=0.03, atol=0)
    zeros = torch.zeros(1, 1, 2, 2, requires_grad=True)
    pooling_layer("gem")(zeros).sum().backward()
    assert zeros.grad.isfinite().all()


def test_bnneck_has_a_fixed_zero_shift():
    model = Embedder(SmallResNet(), None, image_size=(16, 16), channels=1, head="bnneck", mean=(0.5,), std=(1.0,))
    norm = model.head[-1]
    assert not norm.bias.requires_grad
    assert norm.bias.abs().sum() == 0
    assert norm.weight.requires_grad
    assert model.embedding_dim == 128


def test_residual_block_starts_as_the_identity():
    from circlet.models.small import Residual

    x = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(Residual(8).eval()(x), x)


class TakesVectors(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :6]


def test_a_backbone_may_give_vectors():
    model = Embedder(TakesVectors(), 4, image_size=(8, 8), pooling="flatten", head="none", dropout=0.5)
    assert model.embedding_dim == 6
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(images), TakesVectors()(model.normalized(images)))  # no head, so no dropout
    assert Embedder(TakesVectors(), 4, image_size=(8, 8), pooling="own", head="none").embedding_dim == 6
    with pytest.raises(ValueError, match=r"pooling: found a layer for feature maps, .* vectors \(2, 6\)"):
        Embedder(TakesVectors(), 4, image_size=(8, 8), pooling="gem")


def test_embed_is_in_evaluation_mode_and_gives_the_mode_back():
    model = Embedder(SmallResNet(), 8, image_size=(16, 16), channels=1, mean=(0.5,), std=(1.0,), dropout=0.5)
    images = torch.rand(10, 1, 16, 16)
    model.train()
    whole = embed(model, [images])
    assert model.training
    assert whole.dtype == torch.float32
    torch.testing.assert_close(embed(model, images.split(3)), whole)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(10))
    with pytest.raises(ValueError, match="batches: found none"):
        embed(model, [])


def test_embed_into_place_and_into_a_file(tmp_path):
    images = torch.rand(10, 1, 2, 2)
    whole = embed(nn.Flatten(), images.split(4))
    file = tmp_path / "rows"
    assert torch.equal(embed(nn.Flatten(), images.split(4), num_images=10), whole)
    for num_images in (10, None):
        mapped = embed(nn.Flatten(), images.split(4), num_images=num_images, file=file)
        assert torch.equal(mapped, whole)
        assert file.stat().st_size == 10 * 4 * 4
    file.write_bytes(torch.arange(40.0).numpy().tobytes())
    assert torch.equal(mapped.flatten(), torch.arange(40.0))  # it is the file that is read, not memory
    for number in (9, 11):
        for where in (None, file):
            with pytest.raises(ValueError, match=f"batches: found 10 images, expected num_images, {number}"):
                embed(nn.Flatten(), images.split(4), num_images=number, file=where)
    with pytest.raises(OSError, match="none"):
        embed(nn.Flatten(), images.split(4), file=tmp_path / "none" / "rows")


def test_frozen_parts_stay_frozen_and_a_failure_leaves_no_evaluation_mode_behind():
    backbone = SmallResNet().train()
    norm = next(module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    model = Embedder(backbone, 8, image_size=(16, 16), channels=1, mean=(0.5,), std=(1.0,))
    assert backbone.training
    assert not norm.training
    embed(model, [torch.rand(2, 1, 16, 16)])
    assert model.training
    assert not norm.training

    def broken():
        yield torch.rand(2, 1, 16, 16)
        raise OSError("no image")

    with pytest.raises(OSError, match="no image"):
        embed(model, broken())
    assert model.training


def test_embeddings_can_be_trained_on_and_changed():
    embeddings = embed(nn.Flatten(), [torch.rand(3, 1, 2, 2)])
    nn.Linear(4, 1)(embeddings).sum().backward()
    embeddings.sub_(embeddings.mean(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.1, 0.2)}, "mean: found 2 values, expected 1 or 3"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Embedder(SmallResNet(3), **{"embedding_dim": 8, "image_size": (16, 16), **settings})


def test_a_backbone_without_maps_or_vectors_is_refused():
    with pytest.raises(ValueError, match=r"backbone torch.*Flatten: gave shape \(2, 3, 256\), expected feature maps"):
        Embedder(nn.Flatten(2), 8, image_size=(16, 16))


@pytest.mark.parametrize("name", ["resnet52", "timm/", "small2"])
def test_unknown_backbones(name):
    with pytest.raises(ValueError, match=f"backbone: found '{name}', expected one of small, "):
        backbone(name)


@pytest.mark.filterwarnings("ignore")  # of torchvision and timm themselves
def test_timm_backbones(timm):
    model = Embedder(backbone("timm/resnet18", channels=3), 32, image_size=(64, 64), pooling="gem")
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 32)
    grey = backbone("timm/resnet18", channels=1)
    assert grey(torch.rand(1, 1, 64, 64)).shape == (1, 512, 2, 2)
    with pytest.raises(ValueError, match="timm has no model 'resnet18x'; near it: "):
        backbone("timm/resnet18x")
    assert math.isclose(sum(p.numel() for p in backbone("timm/resnet50").parameters()) / 1e6, 23.5, abs_tol=0.1)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm is not installed; expected the extra: pip install 'circlet\[timm\]'"):
        backbone("timm/resnet18")
