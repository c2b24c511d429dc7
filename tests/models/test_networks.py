"""The paper's networks: published parameter counts, shapes, and the outputs of the well-known implementations.

The golden numbers are those of insightface's iresnet18 (recognition/arcface_torch) and of pretrainedmodels 0.7.4's
bninception (its input turned to blue, green, red), filled by `fill` below; so are the hashes of names and shapes.
"""

import hashlib

import pytest
import torch
from torch import nn

from circlet.models import MGN, NAMES, PREPROCESSING, BNInception, Embedder, IRResNet, ResNet50, backbone

pytestmark = pytest.mark.slow


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def fill(module):
    """Give every tensor values that follow from its place and indices alone."""
    for place, (name, tensor) in enumerate(module.double().state_dict().items()):
        if not tensor.is_floating_point():
            continue
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + place).view(tensor.shape)
        if name.endswith("running_var"):
            values = 1 + 0.5 * wave
        elif tensor.ndim == 1:
            values = 0.7 + 0.2 * wave if name.endswith("weight") else 0.1 * wave
        else:
            values = wave * (1.5 / (tensor.numel() / tensor.shape[0])) ** 0.5
        tensor.copy_(values)
    return module.eval()


def images(side):
    return torch.sin(torch.arange(2 * 3 * 112 * 112) * 0.37).view(2, 3, 112, 112)[:, :, :side, :side].double()


def listing(module):
    lines = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in module.state_dict().items())
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


@pytest.mark.parametrize(("depth", "millions"), [(18, 24.03), (34, 34.14), (50, 43.59), (100, 65.16)])
def test_ir_resnets_have_their_published_sizes(depth, millions):
    with torch.device("meta"):
        network = IRResNet(depth)
        assert network(torch.empty(2, 3, 112, 112)).shape == (2, 512)
    assert round(num_parameters(network) / 1e6, 2) == millions


def test_ir_resnet_is_that_of_insightface():
    network = fill(IRResNet(18))
    assert listing(network) == "2fc57a7c2208129d"
    golden = torch.tensor(
        [
            [-0.22736838391002672, -0.19769533781120854, -0.13278776305665493],
            [-0.22739335375972342, -0.19772717692483682, -0.13281781705362938],
        ],
        dtype=torch.float64,
    )
    with torch.no_grad():
        torch.testing.assert_close(network(images(112))[:, 100:103], golden, rtol=0, atol=1e-6)


def test_an_untrained_network_is_finite_in_evaluation_mode():
    """Its batch norms have seen nothing yet, and 49 residual blocks add up."""
    torch.manual_seed(0)
    network = IRResNet(100).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 112, 112) * 2 - 1).abs().max() < 1e12


def test_ir_resnet_details():
    with torch.device("meta"):
        network = IRResNet(18, channels=1, embedding_dim=64, dropout=0.4)
        assert network(torch.empty(2, 1, 112, 112)).shape == (2, 64)
    assert network.dropout.p == 0.4
    assert not network.features.weight.requires_grad
    assert not any(isinstance(part, nn.MaxPool2d) for part in network.modules())
    with pytest.raises(ValueError, match="images: found 96 x 112 pixels, expected 112 x 112"):
        network(torch.empty(1, 1, 96, 112, device="meta"))
    with pytest.raises(ValueError, match=r"depth: found 20, expected one of \(18, 34, 50, 100\)"):
        IRResNet(20)


def test_resnet50_is_that_of_torchvision(torchvision):
    expected = torchvision.models.resnet50().eval()
    expected.avgpool = expected.fc = nn.Identity()
    network = ResNet50(last_stride=2).eval()
    assert num_parameters(network) == 23_508_032
    network.load_state_dict(expected.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(x).flatten(1), expected(x))


def test_a_last_stride_of_1_keeps_the_maps_large():
    with torch.device("meta"):
        x = torch.empty(2, 3, 256, 128)
        assert ResNet50()(x).shape == (2, 2048, 16, 8)
        assert ResNet50(last_stride=2)(x).shape == (2, 2048, 8, 4)
        assert ResNet50(1)(x[:, :1]).shape == (2, 2048, 16, 8)


def test_mgn_has_three_copies_of_the_later_stages():
    """68.8 million: the shared part, three times the rest of a ResNet-50, and eight reductions."""
    with torch.device("meta"):
        resnet, network = ResNet50(), MGN()
        assert network(torch.empty(2, 3, 384, 128)).shape == (2, 2048)
        assert network(torch.empty(2, 3, 256, 128)).shape == (2, 2048)
        with pytest.raises(ValueError, match="images: found 40 rows, expected at least 48"):
            network(torch.empty(2, 3, 40, 128))
    rest = num_parameters(resnet.layer3[1:]) + num_parameters(resnet.layer4)
    reductions = 8 * (2048 * 256 + 2 * 256)
    assert num_parameters(network) == num_parameters(resnet) + 2 * rest + reductions == 68_807_744


@torch.no_grad()
def test_mgn_starts_from_a_resnet50_and_sees_its_stripes():
    torch.manual_seed(0)
    resnet, network = ResNet50(last_stride=1).eval(), MGN().eval()
    before = network.reductions[0][0].weight.clone()
    network.load_state_dict(resnet.state_dict())
    assert torch.equal(network.reductions[0][0].weight, before)
    x = torch.randn(1, 3, 96, 32)
    maps = resnet(x)  # 6 rows: whole, 2 x 3 and 3 x 2
    for branch in network.branches[1:]:
        torch.testing.assert_close(branch(network.shared(x)), maps)
    resnet.layer4[0].conv2.stride = resnet.layer4[0].downsample[0].stride = (2, 2)
    torch.testing.assert_close(network.branches[0](network.shared(x)), resnet(x))
    pooled = [resnet(x).amax((2, 3))]
    for stripes in (2, 3):
        pooled += [maps.amax((2, 3)), *(stripe.amax((2, 3)) for stripe in maps.chunk(stripes, dim=2))]
    expected = [reduce(part) for reduce, part in zip(network.reductions, pooled, strict=True)]
    torch.testing.assert_close(network(x), torch.cat(expected, 1))
    again = MGN()
    again.load_state_dict(network.state_dict())  # and its own tensors as they are
    assert torch.equal(again.reductions[7][0].weight, network.reductions[7][0].weight)


def test_bn_inception_is_that_of_pretrainedmodels():
    network = fill(BNInception())
    assert num_parameters(network) == 10_270_240  # 11,295,240 with the classifier
    assert listing(network) == "76d6e0bad8466185"
    with torch.no_grad():
        maps = network(images(96))
    assert maps.shape == (2, 1024, 3, 3)
    assert maps.mean().item() == pytest.approx(1110.0089, rel=1e-6)
    assert maps.std().item() == pytest.approx(1745.9637, rel=1e-6)


def test_bn_inception_refuses_sizes_that_do_not_halve():
    with torch.device("meta"):
        network = BNInception()
        for side in (224, 227, 256):
            assert network(torch.empty(1, 3, side, side)).shape[:2] == (1, 1024)
        with pytest.raises(ValueError, match="maps of 29 x 28 before inception_3c, expected even ones"):
            network(torch.empty(1, 3, 231, 227))


def test_bn_inception_sees_what_caffe_saw():
    """A red pixel of 200, prepared, is 200 less 128 in the last channel of Caffe's blue, green, red."""
    _, mean, std = PREPROCESSING["bn_inception"][:3]
    red = (torch.tensor([200.0, 0.0, 0.0]) / 255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(red.flip(0), torch.tensor([0.0, 0.0, 200.0]) - torch.tensor([104.0, 117.0, 128.0]))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_its_network_at_its_size(name):
    if name == "small":
        assert backbone(name, channels=1)(torch.rand(1, 1, 16, 16)).shape == (1, 128, 2, 2)
        return
    size, mean, std = PREPROCESSING[name][:3]
    assert len(mean) == len(std) == 3
    with torch.device("meta"):
        features = backbone(name, dropout=0.2)(torch.empty(2, 3, *size))
    expected = {
        "resnet50": (2048, 16, 8),
        "mgn": (2048,),
        "bn_inception": (1024, 7, 7),
        "efficientnet_lite0": (1280, 7, 7),
        "efficientnet_lite1": (1280, 8, 8),
        "efficientnet_lite2": (1280, 9, 9),
    }.get(name, (512,))
    assert features.shape == (2, *expected)


def test_the_sizes_cover_the_names():
    assert PREPROCESSING.keys() == set(NAMES) - {"small"}


@pytest.mark.parametrize(
    ("name", "size", "dim", "settings"),
    [
        ("ir_resnet18", (112, 112), 512, {"pooling": "flatten", "head": "none"}),
        ("mgn", (96, 32), 2048, {"pooling": "flatten", "head": "none"}),
        ("resnet50", (64, 32), 2048, {"pooling": "average", "head": "bnneck"}),
        ("bn_inception", (64, 64), 512, {"pooling": "max", "head": "linear"}),
    ],
)
def test_a_step_of_training_reaches_every_parameter(name, size, dim, settings):
    wanted = None if settings["head"] in ("none", "bnneck") else dim
    model = Embedder(backbone(name), wanted, image_size=size, **settings)
    assert model.embedding_dim == dim
    embeddings = model(torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8))
    assert embeddings.shape == (2, dim)
    (embeddings * torch.randn(2, dim)).sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad.isfinite().all(), parameter_name
        assert parameter.requires_grad or parameter_name in ("backbone.features.weight", "head.0.bias")
