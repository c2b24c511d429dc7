"""Names of timm: its list, folders, the hub; what each expects of its images; and one line for all that goes wrong."""

import importlib.util
import json
import pickle
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from circlet.models import PREPROCESSING, Embedder, Preprocessing, backbone, preprocessing_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_backbone.py"
quiet = pytest.mark.filterwarnings("ignore")  # of torchvision and timm themselves


@pytest.fixture
def folder(timm, tmp_path):
    """A folder that timm has saved, and its network."""
    from timm.models import save_for_hf

    network = timm.create_model("test_vit", num_classes=3).eval()
    save_for_hf(network, tmp_path / "saved", safe_serialization=True)
    return tmp_path / "saved", network


@pytest.fixture
def hub(folder, monkeypatch):
    """A hub with that one repository, and what was asked of it: (file, whether the network may be used)."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    asked = []

    def download(repository, file, *, revision, local_files_only):
        asked.append((file, not local_files_only))
        assert (repository, revision) == ("owner/name", None)
        if local_files_only and len(asked) == 1:
            raise LocalEntryNotFoundError("not in the cache")
        if not (folder[0] / file).exists():
            raise RemoteEntryNotFoundError.__new__(RemoteEntryNotFoundError)
        return str(folder[0] / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def vectors_of(network, images):
    return network.forward_head(network.forward_features(images), pre_logits=True)


@quiet
def test_a_folder(folder):
    path, source = folder
    name = f"timm/local-dir:{path}"
    images = torch.rand(2, 3, 160, 160)
    assert torch.equal(backbone(name, pretrained=True, pooling="own").eval()(images), vectors_of(source, images))
    assert not torch.equal(backbone(name, pooling="own").eval()(images), vectors_of(source, images))
    assert backbone(name, pretrained=True, image_size=(64, 96), channels=1)(torch.rand(1, 1, 64, 96)).shape[1:] == (
        64,
        24,
        1,
    )
    assert preprocessing_of(name) == preprocessing_of("timm/test_vit")


@quiet
def test_a_repository_is_fetched_only_if_asked_for(hub, folder):
    with pytest.raises(
        OSError, match=r"hf-hub:owner/name: found none of config.json in the cache, and nothing is fetch"
    ):
        backbone("timm/hf-hub:owner/name")
    network = backbone("timm/hf-hub:owner/name", pretrained=True, pooling="own").eval()
    images = torch.rand(1, 3, 160, 160)
    assert torch.equal(network(images), vectors_of(folder[1], images))
    assert hub == [("config.json", False), ("config.json", True), ("model.safetensors", True)]
    backbone("timm/hf-hub:owner/name")  # now it is in the cache
    assert hub[3:] == [("config.json", False)]


@quiet
def test_a_hub_out_of_reach(timm, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(*args, **options):
        raise LocalEntryNotFoundError("Please check\nyour connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    for name in ("timm/hf-hub:owner/name", "timm/resnet18"):
        expected = rf"^{name}: could not be fetched \(Please check your connection\); expected a connection, .* or eff"
        with pytest.raises(OSError, match=expected) as raised:
            backbone(name, pretrained=True, image_size=(32, 32))
        assert "\n" not in str(raised.value)
    with pytest.raises(OSError, match="hf-hub:owner/name: could not be fetched"):
        preprocessing_of("timm/hf-hub:owner/name")


class Attack:
    def __reduce__(self):
        return (Path.touch, (Path("attacked"),))


@quiet
def test_nothing_in_a_folder_is_run(folder, monkeypatch, tmp_path):
    path, _ = folder
    monkeypatch.chdir(tmp_path)
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Attack()}))
    with pytest.raises(ValueError, match=r"pytorch_model.bin: found no readable weights, or more than tensors"):
        backbone(f"timm/local-dir:{path}", pretrained=True)
    assert not (tmp_path / "attacked").exists()


@quiet
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json: found JSONDecodeError"),
        ("[]", "config.json: found .*, expected what timm writes: architecture, pretrained_cfg"),
        ("{}", "config.json: found KeyError"),
        ('{"architecture": "nothing", "pretrained_cfg": {}}', "config.json: found architecture 'nothing', which timm"),
        ('{"architecture": "test_vit", "pretrained_cfg": {"run": "me"}}', "config.json: found TypeError .*'run'"),
        ('{"architecture": "test_vit", "pretrained_cfg": {}, "model_args": {"depth": "x"}}', "timm/local-dir:.*failed"),
        (
            '{"architecture": "test_vit", "pretrained_cfg": {}, "model_args": {"checkpoint_path": "/x.bin"}}',
            "config.json: found checkpoint_path in model_args, expected arguments of the network alone",
        ),
    ],
)
def test_folders_that_are_none(folder, content, message):
    path, _ = folder
    (path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        backbone(f"timm/local-dir:{path}")


@quiet
def test_weights_of_another_architecture(folder):
    path, _ = folder
    config = json.loads((path / "config.json").read_text())["pretrained_cfg"]
    (path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": config}))
    with pytest.raises(ValueError, match=r"model.safetensors: does not fit ResNet: tensors \d+ missing, such as conv1"):
        backbone(f"timm/local-dir:{path}", pretrained=True)
    (path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"saved: found no weights, expected one of model.safetensors, "):
        backbone(f"timm/local-dir:{path}", pretrained=True)


@quiet
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm/resnet18x", {}, "timm has no model 'resnet18x'; near it: resnet18, "),
        ("timm/resnet18.tv", {}, "timm has no weights 'tv' for resnet18; it has resnet18.a1_in1k, "),
        (
            "timm/owner/name",
            {},
            "found 'timm/owner/name', expected timm/<model>, timm/hf-hub:owner/name or timm/local-",
        ),
        ("timm/os:system", {}, "found 'timm/os:system', expected timm/<model>"),  # not an extension
        ("timm/hf-hub:", {}, "found 'timm/hf-hub:', expected"),
        ("timm/hf-hub:../x", {}, "found 'timm/hf-hub:../x', expected timm/hf-hub:owner/name"),
        ("timm/mixer_s32_224", {"pretrained": True}, "which has no published weights; expected .* mixer_b16_224"),
        ("timm/resnet18", {"width": 3}, "width: found with backbone 'timm/resnet18', expected no options"),
    ],
)
def test_names_that_are_none(timm, name, options, message):
    with pytest.raises(ValueError, match=message):
        backbone(name, **options)


class DoesNotLoad:
    def find_spec(self, name, path=None, target=None):
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist\nmore")


def test_a_torchvision_that_does_not_fit(monkeypatch):
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [DoesNotLoad(), *sys.meta_path])
    expected = rf"torchvision \S+ does not fit torch {re.escape(torch.__version__)} \(operator torchvision::nms does"
    with pytest.raises(ImportError, match=expected) as raised:
        backbone("timm/resnet18")
    assert "\n" not in str(raised.value)


def test_an_old_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(__version__="1.0.9.dev0"))
    with pytest.raises(ImportError, match=r"timm: found 1.0.9.dev0, expected 1.0.31 or later"):
        backbone("timm/resnet18")


def test_preprocessing_of_ours():
    assert preprocessing_of("resnet50") == PREPROCESSING["resnet50"]
    assert preprocessing_of("efficientnet_lite2") == ((260, 260), (0.5,) * 3, (0.5,) * 3, "bicubic", 0.875)
    assert preprocessing_of("small") is preprocessing_of("mine:Network") is preprocessing_of("timm/") is None
    assert Preprocessing((4, 4), (0.5,), (0.5,)) == ((4, 4), (0.5,), (0.5,), "bilinear", 1.0)
    grey = preprocessing_of("resnet50", channels=1)
    assert grey.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert grey.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))


@quiet
@pytest.mark.parametrize("name", ["resnet18", "vit_small_patch16_224.dino", "tf_efficientnet_lite0", "convnext_atto"])
def test_preprocessing_is_what_timm_says(timm, name):
    with torch.device("meta"):
        network = timm.create_model(name)
    expected = timm.data.resolve_model_data_config(network)
    found = preprocessing_of(f"timm/{name}")
    assert found == preprocessing_of(f"timm/{name}", network)
    assert (3, *found.size) == expected["input_size"]
    assert (found.mean, found.std) == (expected["mean"], expected["std"])
    assert (found.interpolation, found.crop_share) == (expected["interpolation"], expected["crop_pct"])


def test_interpolation_at_random_is_bicubic():
    network = nn.Identity()
    network.pretrained_cfg = {"interpolation": "random", "input_size": (3, 96, 64), "crop_pct": 1.2}
    assert preprocessing_of("timm/mine", network)[3:] == ("bicubic", 1.0)
    assert preprocessing_of("timm/mine", network).size == (96, 64)


class VisionTower(nn.Module):
    """As small as can be, with the interface of a vision transformer of transformers."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, stride=8)

    def forward(self, pixel_values):
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        return types.SimpleNamespace(last_hidden_state=torch.cat([tokens.mean(1, keepdim=True), tokens], 1))


def test_the_example_takes_networks_of_other_packages(monkeypatch):
    """Stand-ins for transformers and open_clip, which are not installed."""
    tower = VisionTower()
    auto = types.SimpleNamespace(from_pretrained=lambda name, use_safetensors: tower)
    clip = types.SimpleNamespace(
        visual=nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(AutoModel=auto))
    monkeypatch.setitem(sys.modules, "open_clip", types.SimpleNamespace(create_model=lambda name, pretrained: clip))
    spec = importlib.util.spec_from_file_location("own_backbone", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    images = torch.rand(2, 3, 16, 16)
    for make, features in ((example.dinov2, 6), (example.clip, 4)):
        network = backbone(make, image_size=(16, 16), pooling="own")
        model = Embedder(network, None, image_size=(16, 16), pooling="own", head="none", mean=(0.0,), std=(1.0,))
        assert torch.equal(model(images), network(images))
        assert model.embedding_dim == features
    torch.testing.assert_close(example.dinov2(3)(images), tower.patches(images).mean((2, 3)))
