"""Networks of timm, one of each family without memory, tiny ones with weights: vectors, maps, sizes, files."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from circlet.models import Embedder, backbone, pooling_layer, probe
from circlet.models.maps import AsMaps, as_maps

pytestmark = pytest.mark.filterwarnings("ignore")  # of torchvision and timm themselves

# name, side of the images, features by the own pooling, layout, tokens before the patches, features and places of maps
FAMILIES = [
    ("resnet18", 64, 512, "NCHW", 0, 512, (2, 2)),
    ("convnext_atto", 64, 320, "NCHW", 0, 320, (2, 2)),
    ("vit_tiny_patch16_224", 64, 192, "tokens", 1, 192, (16, 1)),
    ("vit_small_patch14_dinov2", 56, 384, "tokens", 1, 384, (16, 1)),
    ("vit_small_patch14_reg4_dinov2", 56, 384, "tokens", 5, 384, (16, 1)),
    ("vit_small_patch16_dinov3", 64, 384, "tokens", 5, 384, (16, 1)),
    ("eva02_tiny_patch14_224", 56, 192, "tokens", 1, 192, (16, 1)),
    ("vit_base_patch32_clip_224", 64, 768, "tokens", 1, 768, (4, 1)),
    ("vit_base_patch16_siglip_224", 64, 768, "tokens", 0, 768, (16, 1)),
    ("beit_base_patch16_224", 64, 768, "tokens", 1, 768, (16, 1)),
    ("swin_tiny_patch4_window7_224", 64, 768, "NHWC", 0, 768, (2, 2)),
    ("swinv2_tiny_window8_256", 64, 768, "NHWC", 0, 768, (2, 2)),
    ("hiera_tiny_224", 64, 768, "tokens", 0, 768, (4, 1)),
    ("caformer_s18", 64, 512, "NCHW", 0, 512, (2, 2)),
    ("mobilenetv4_conv_small", 64, 1280, "NCHW", 0, 1280, (2, 2)),
    ("xcit_nano_12_p16_224", 64, 128, "tokens", 1, 128, (16, 1)),
    ("mixer_s32_224", 64, 512, "tokens", 0, 512, (4, 1)),
    ("volo_d1_224", 64, 384, "tokens", 1, 384, (16, 1)),
    ("deit_tiny_distilled_patch16_224", 64, 192, "tokens", 2, 192, (16, 1)),
    ("efficientvit_b0", 64, 1280, "NCHW", 0, 128, (2, 2)),
    ("inception_next_atto", 64, 960, "NCHW", 0, 320, (2, 2)),
]


@pytest.mark.parametrize(
    ("name", "side", "own", "layout", "prefix", "features", "places"), FAMILIES, ids=[row[0] for row in FAMILIES]
)
def test_each_family(shallow, name, side, own, layout, prefix, features, places):
    size = (side, side)
    with torch.device("meta"):
        vectors = backbone(f"timm/{name}", image_size=size, pooling="own")
        network = backbone(f"timm/{name}", image_size=size)
        assert probe(vectors, channels=3, image_size=size).shape == (2, own)
        maps = probe(network, channels=3, image_size=size)
    assert maps.shape == (2, features, *places)
    assert network.as_maps[1:] == (layout, features, prefix)
    for pooling in ("average", "max", "average+max", "gem"):
        assert pooling_layer(pooling).to("meta")(maps).shape == (2, features)
    assert set(network.state_dict()) <= set(vectors.state_dict())  # the names are timm's


@pytest.mark.parametrize("name", ["coat_tiny", "pit_ti_224"])  # two scales at once; the class token alone
def test_what_gives_no_maps_is_refused_and_pools_itself(timm, name):
    with torch.device("meta"):
        assert backbone(f"timm/{name}", pooling="own")(torch.empty(2, 3, 224, 224)).ndim == 2
        with pytest.raises(ValueError, match=f"timm/{name}: gave .* without its pooling, .*; pooling own is"):
            backbone(f"timm/{name}", pooling="gem")


# Tiny ones, with weights: their own pooling, by its definition out of what comes before it.
OWN = {
    "test_resnet": lambda before: before.mean((2, 3)),
    "test_mambaout": None,  # a hidden layer after the average
    "test_vit": lambda before: before[:, 0],
    "test_vit_relpos": lambda before: before.mean(1),
}


@pytest.mark.parametrize("name", OWN)
def test_pooling_by_its_definition(timm, name):
    torch.manual_seed(0)
    vectors = backbone(f"timm/{name}", image_size=(64, 96), pooling="own").eval()
    network = backbone(f"timm/{name}", image_size=(64, 96)).eval()
    network.load_state_dict(vectors.state_dict())
    images = torch.rand(2, 3, 64, 96)
    model = Embedder(vectors, None, image_size=(64, 96), head="none", pooling="own", mean=(0.0,), std=(1.0,)).eval()
    with torch.no_grad():
        before = vectors.forward_features(images)
        assert torch.equal(model(images), vectors(images))
        if OWN[name]:
            torch.testing.assert_close(vectors.fc_norm(OWN[name](before)) if hasattr(vectors, "fc_norm") else
                                       OWN[name](before), vectors(images))  # fmt: skip
        maps = network(images)
        if name == "test_vit":
            torch.testing.assert_close(pooling_layer("average")(maps), before[:, 1:].mean(1))
        elif name == "test_resnet":
            assert torch.equal(maps, before)
        elif name == "test_mambaout":
            assert before.shape == (2, 2, 3, 64)
            assert maps.shape == (2, 256, 2, 3)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=st.sampled_from(["NCHW", "NHWC", "tokens"]), prefix=st.integers(0, 5), seed=st.integers(0, 99))
def test_permuting_the_places_changes_no_pooled_feature(layout, prefix, seed):
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(2, 12, 7, generator=generator)  # batch, places, features
    shuffled = places[:, torch.randperm(12, generator=generator)]

    def pooled(places, pooling, fill):
        if layout == "tokens":
            output = torch.cat([torch.full((2, prefix, 7), fill), places], 1)
        else:
            output = places.view(2, 3, 4, 7)
            output = output.permute(0, 3, 1, 2) if layout == "NCHW" else output
        return pooling_layer(pooling)(AsMaps("it", layout, 7, prefix)(nn.Identity(), (), output))

    for pooling, oracle in (
        ("average", places.mean(1)),
        ("max", places.amax(1)),
        ("gem", (places**3).mean(1) ** (1 / 3)),
    ):
        torch.testing.assert_close(pooled(places, pooling, float("nan")), oracle)  # prefix tokens are not looked at
        torch.testing.assert_close(pooled(shuffled, pooling, 3.0), oracle)


class States(nn.Module):
    """A network that states these things of itself."""

    def __init__(self, **stated):
        super().__init__()
        for name, value in stated.items():
            setattr(self, name, value)


STEP = [{"reduction": 16}]
TOKEN = nn.Parameter(torch.zeros(1, 1, 8))


@pytest.mark.parametrize(
    ("stated", "shape", "expected"),
    [
        ({"num_features": 8}, (2, 8, 4, 4), ("NCHW", 8, 0)),
        ({"num_features": 4, "head_hidden_size": 8}, (2, 8, 2, 2), ("NCHW", 8, 0)),
        ({"num_features": 8}, (2, 4, 4, 8), ("NHWC", 8, 0)),
        ({"num_features": 8, "output_fmt": "NHWC"}, (2, 8, 8, 8), ("NHWC", 8, 0)),
        ({"num_features": 8, "feature_info": STEP, "num_prefix_tokens": 3}, (2, 19, 8), ("tokens", 8, 3)),
        ({"num_features": 8, "feature_info": STEP}, (2, 16, 8), ("tokens", 8, 0)),
        ({"num_features": 8, "feature_info": STEP, "cls_token": TOKEN}, (2, 17, 8), ("tokens", 8, 1)),
        ({"num_features": 8, "feature_info": STEP, "cls_token": TOKEN}, (2, 16, 8), None),
        ({"num_features": 8}, (2, 8, 8, 8), None),  # either axis
        ({"num_features": 8, "output_fmt": "NHWC"}, (2, 8, 4, 4), None),  # not what it says
        ({"num_features": 9}, (2, 8, 4, 4), None),
        ({}, (2, 8, 4, 4), None),
        ({"num_features": 8, "feature_info": STEP}, (2, 17, 8), None),  # one too many: a class token?
        ({"num_features": 8, "feature_info": STEP}, (2, 8, 16), None),
        ({"num_features": 8}, (2, 16, 8), None),  # nobody says how many patches there are
        ({"num_features": 8}, (2, 8), None),
    ],
)
def test_a_layout_is_not_guessed(stated, shape, expected):
    network = States(**stated)
    if expected is None:
        with pytest.raises(ValueError, match=rf"it: gave shape \({', '.join(map(str, shape))}\) without its pooling, "):
            as_maps("it", network, torch.empty(shape), (64, 64))
    else:
        assert as_maps("it", network, torch.empty(shape), (64, 64))[1:] == expected


def test_an_output_of_another_form_later_on_is_refused():
    with pytest.raises(ValueError, match=r"it: gave shape \(2, 5, 3, 3\), expected 7 features, NCHW"):
        AsMaps("it", "NCHW", 7)(nn.Identity(), (), torch.empty(2, 5, 3, 3))


def test_convolutional_networks_are_what_they_were(timm):
    for name in ("test_resnet", "test_efficientnet", "test_convnext"):
        torch.manual_seed(1)
        before = timm.create_model(name, num_classes=0, global_pool="").eval()
        torch.manual_seed(1)
        network = backbone(f"timm/{name}", image_size=(64, 64)).eval()
        images = torch.rand(2, 3, 64, 64)
        assert list(network.state_dict()) == list(before.state_dict())
        assert torch.equal(network(images), before(images))


def test_a_copy_is_its_own(timm):
    network = backbone("timm/deit_tiny_distilled_patch16_224", image_size=(32, 32)).eval()
    copied = copy.deepcopy(network)
    images = torch.rand(1, 3, 32, 32)
    expected = network(images)
    for parameter in network.parameters():
        parameter.data.zero_()
    assert torch.equal(copied(images), expected)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("vit_tiny_patch16_224", (100, 100), "expected multiples of 16, the side of its patches"),
        ("mixer_s32_224", (100, 64), "expected multiples of 32"),
        ("hiera_tiny_224", (100, 100), r"expected a size that it can take, such as .* 224 x 224 \("),
        ("resnet18", (0, 4), "expected a size that it can take"),
    ],
)
def test_sizes_that_cannot_be_taken(timm, name, size, expected):
    for pooling in ("own", "average"):
        with pytest.raises(ValueError, match=f"^size: found {size[0]} x {size[1]} with timm/{name}, {expected}"):
            backbone(f"timm/{name}", image_size=size, pooling=pooling)


def test_a_pooling_that_does_not_fit_the_network(timm):
    tokens = backbone("timm/test_vit")
    assert backbone("timm/test_vit", pooling="flatten").as_maps == tokens.as_maps  # only the embedder pools
    for pooling, message in (("own", "found own with timm/test_vit built for maps"), ("flatten", "which gives tokens")):
        with pytest.raises(ValueError, match=f"pooling: .*{message}"):
            Embedder(tokens, 8, image_size=(160, 160), pooling=pooling)
    with torch.device("meta"), pytest.raises(ValueError, match=r"failed on images \(2, 3, 64, 64\) \(Input height"):
        Embedder(backbone("timm/vit_tiny_patch16_224"), 8, image_size=(64, 64), pooling="average")


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "test_resnet"])  # test_vit3: its pooling has weights
def test_files_of_weights(timm, tmp_path, name):
    source = timm.create_model(name, num_classes=5).eval()
    torch.save(source.state_dict(), tmp_path / "timm.pth")
    images = torch.rand(2, 3, 160, 160)
    own = backbone(f"timm/{name}", weights=tmp_path / "timm.pth", pooling="own").eval()
    assert torch.equal(own(images), source.forward_head(source.forward_features(images), pre_logits=True))
    maps = backbone(f"timm/{name}", weights=tmp_path / "timm.pth", image_size=(64, 96)).eval()  # positions resampled
    assert maps(torch.rand(2, 3, 64, 96)).isfinite().all()
    grey = backbone(f"timm/{name}", weights=tmp_path / "timm.pth", image_size=(64, 96), channels=1).eval()
    images = torch.rand(2, 1, 64, 96)
    torch.testing.assert_close(grey(images), maps(images.expand(2, 3, 64, 96)), rtol=1e-3, atol=1e-4)
    torch.save(Embedder(maps, 8, image_size=(64, 96), pooling="gem").state_dict(), tmp_path / "circlet.pth")
    again = backbone(f"timm/{name}", weights=tmp_path / "circlet.pth", image_size=(64, 96)).eval()
    assert torch.equal(again(images.expand(2, 3, 64, 96)), maps(images.expand(2, 3, 64, 96)))
    with pytest.raises(
        ValueError, match=r"timm.pth: does not fit EfficientNet: tensors \d+ missing, such as conv_stem"
    ):
        backbone("timm/test_efficientnet", weights=tmp_path / "timm.pth", image_size=(64, 96))
