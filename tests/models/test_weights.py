"""Weight files: every form that is taken, and a clear refusal of all else."""

import pickle
import zipfile

import pytest
import torch
from torch import nn

from circlet.models import MGN, BNInception, Embedder, ResNet50, SmallResNet, backbone, load_weights


class Net(nn.Module):
    def __init__(self, in_features=3):
        super().__init__()
        self.linear = nn.Linear(in_features, 2)
        self.norm = nn.BatchNorm1d(2)


def other_values(module):
    return {name: torch.full_like(tensor, 2) for name, tensor in module.state_dict().items()}


def is_loaded(module):
    return all((tensor == 2).all() for name, tensor in module.state_dict().items() if "num_batches" not in name)


def saved(path, content):
    torch.save(content, path)
    return path


FORMS = {
    "plain": lambda state: state,
    "parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "backbone": lambda state: {"model": {f"backbone.{name}": tensor for name, tensor in state.items()}},
    "both": lambda state: {"state_dict": {f"module.backbone.{n}": t for n, t in state.items()}, "epoch": 3},
    "old norms": lambda state: {n: t[None] if "norm" in n and t.ndim else t for n, t in state.items()},
    "no counts": lambda state: {n: t for n, t in state.items() if "num_batches" not in n},
    "parameters": lambda state: {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zipped", [True, False])
def test_forms_of_a_file(tmp_path, form, zipped):
    net = Net()
    torch.save(FORMS[form](other_values(net)), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = load_weights(net, tmp_path / "w.pth")
    assert is_loaded(net)
    assert len(loaded.used) == (6 if form == "no counts" else 7)
    assert loaded.ignored == ()


def test_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    net = Net()
    save_file(other_values(net), tmp_path / "w.safetensors")
    load_weights(net, str(tmp_path / "w.safetensors"))
    assert is_loaded(net)
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match=r"w\.safetensors: found no readable safetensors file"):
        load_weights(net, tmp_path / "w.safetensors")


def test_classifiers_are_ignored_and_named(tmp_path):
    net = Net()
    heads = {f"{name}.weight": torch.ones(9) for name in ("fc", "classifier", "last_linear", "head.fc")}
    loaded = load_weights(net, saved(tmp_path / "w.pth", {**other_values(net), **heads}))
    assert loaded.ignored == tuple(heads)
    assert is_loaded(net)


def test_a_layer_of_ones_own_called_fc_is_no_classifier(tmp_path):
    net = nn.Sequential()
    net.add_module("fc", nn.Linear(2, 2))
    path = saved(tmp_path / "w.pth", {f"module.{name}": tensor for name, tensor in other_values(net).items()})
    assert load_weights(net, path).ignored == ()
    assert is_loaded(net)


def test_beside_the_backbone_all_is_ignored(tmp_path):
    net = Net()
    content = {f"backbone.{name}": tensor for name, tensor in other_values(net).items()}
    loaded = load_weights(net, saved(tmp_path / "w.pth", {**content, "heads.weight": torch.ones(4)}))
    assert loaded.ignored == ("heads.weight",)


def test_a_circlet_checkpoint_gives_its_backbone_or_all_of_it(tmp_path):
    model = Embedder(SmallResNet(width=8), 4, image_size=(16, 16), channels=1, mean=(0.5,), std=(1.0,))
    path = saved(tmp_path / "last.pt", {"model": model.state_dict(), "objective": {"weight": torch.ones(3)}, "step": 5})
    other = SmallResNet(width=8)
    loaded = load_weights(other, path)
    assert loaded.ignored == ("head.0.weight", "head.0.bias")
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.backbone.state_dict()[name])
    whole = Embedder(SmallResNet(width=8), 4, image_size=(16, 16), channels=1, mean=(0.5,), std=(1.0,))
    assert load_weights(whole, path).ignored == ()
    assert torch.equal(whole.head[0].weight, model.head[0].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("linear.bias"), "Net: tensors 1 missing, such as linear.bias$"),
        (lambda s: s.update(extra=s["linear.bias"]), "Net: tensors 1 unexpected, such as extra$"),
        (lambda s: s.update({"linear.weight": torch.ones(2, 9)}), "1 of another shape, such as size mismatch for lin"),
        (lambda s: (s.pop("linear.bias"), s.update(a=torch.ones(1), b=torch.ones(1))), "1 missing, .*; 2 unexpected"),
        (lambda s: s.update(step=3), "found int under 'step', expected tensors by name"),
        (lambda s: s.clear(), "found dict, expected tensors by name"),
    ],
)
def test_files_that_do_not_fit(tmp_path, change, message):
    state = other_values(Net())
    change(state)
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(Net(), saved(tmp_path / "w.pth", state))
    assert "w.pth: " in str(caught.value)


class Hostile:
    def __reduce__(self):
        return print, ("code was run",)


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, capsys):
    path = saved(tmp_path / "w.pth", {"linear.weight": Hostile()})
    with pytest.raises(ValueError, match=r"w\.pth: found no readable weights, or more than tensors"):
        load_weights(Net(), path)
    path.write_bytes(pickle.dumps({"linear.weight": Hostile()}))
    with pytest.raises(ValueError, match=r"w\.pth: found no readable weights, or more than tensors"):
        load_weights(Net(), path)
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", b"\x80\x02", bytes(300)])
def test_broken_files(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.pth: found no readable weights"):
        load_weights(Net(), path)


def test_a_truncated_file_and_no_file(tmp_path):
    path = saved(tmp_path / "w.pth", other_values(Net()))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"w\.pth: found no readable weights"):
        load_weights(Net(), path)
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file; expected weights"):
        load_weights(Net(), tmp_path / "none.pth")


@pytest.mark.slow
def test_imagenet_files_of_resnet50_load_into_resnet50_and_mgn(tmp_path):
    state = ResNet50().state_dict()
    classifier = {"fc.weight": torch.ones(10, 2048), "fc.bias": torch.ones(10)}
    path = saved(tmp_path / "resnet50.pth", {**state, **classifier})
    network = ResNet50()
    assert load_weights(network, path).ignored == ("fc.weight", "fc.bias")
    assert torch.equal(network.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])
    network = backbone("mgn", weights=path)
    assert isinstance(network, MGN)
    for branch in network.branches:
        assert torch.equal(branch.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])
    torch.save({**state, "layer3.6.conv1.weight": torch.ones(1)}, path)  # as a ResNet-101 has it
    for name in ("mgn", "resnet50"):
        with pytest.raises(ValueError, match=r"tensors 1 unexpected, such as layer3\.6\.conv1\.weight"):
            backbone(name, weights=path)


def test_the_bn_inception_file_in_its_old_form(tmp_path):
    state = BNInception().state_dict()
    old = {n: t[None] if "_bn." in n else t for n, t in state.items() if "num_batches" not in n}
    old |= {"last_linear.weight": torch.ones(10, 1024), "last_linear.bias": torch.ones(10)}
    network = backbone("bn_inception", weights=saved(tmp_path / "bn_inception.pth", old))
    assert torch.equal(network.inception_5b_1x1.weight, state["inception_5b_1x1.weight"])


def test_files_for_timm(timm, tmp_path):
    state = timm.create_model("resnet18").state_dict()
    network = backbone("timm/resnet18", weights=saved(tmp_path / "w.pth", state))
    assert torch.equal(network.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    with pytest.raises(ValueError, match="pretrained: found True with a file of weights, expected one of the two"):
        backbone("timm/resnet18", pretrained=True, weights=tmp_path / "w.pth")


def test_a_sound_file_of_torchscript_is_not_called_damaged_alone(tmp_path):
    path = tmp_path / "scripted.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # as torch.jit.save packs its code
        archive.writestr("scripted/code/net.py", "pass\n")
    with pytest.raises(ValueError, match=r"scripted\.pt: found no readable weights \(.* is compressed\); expected a "
                                         "file of torch.save, undamaged and not TorchScript"):  # fmt: skip
        load_weights(Net(), path)
