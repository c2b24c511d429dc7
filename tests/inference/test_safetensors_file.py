"""The file that is a model: the same vectors and digest again; nothing of it is run or believed unchecked."""

# ruff: noqa: F811  (fixtures that are imported)

import json
import os
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import circlet
from circlet.inference import load_model
from circlet.inference.safetensors_file import KEY, load_safetensors, read_settings, save_safetensors
from tests.export.made import make_run, model, photos, run  # noqa: F401

WORSE = {
    "version 2": ({"version": 2}, r"version: found 2, expected 1: update circlet"),
    "version 0": ({"version": 0}, r"version: found 0"),
    "a setting too many": ({"more": 1}, r"unknown settings \['more'\]"),
    "another type": ({"name": 7}, r"circlet\.name: found 7, expected text"),
    "a huge image": ({"view": {"size": [100000, 100000], "crop_share": 1.0, "flip": False, "five_crops": False}},
                     r"view\.size: found \(100000, 100000\)"),
    "a huge decoded image": ({"prepare": {"size": [1 << 20, 1 << 20], "channels": 3, "fit": "crop",
                                          "interpolation": "bicubic"}}, r"prepare\.size: found"),
    "no crop": ({"view": {"size": [16, 20], "crop_share": 0.0, "flip": False, "five_crops": False}},
                r"view\.crop_share"),
    "two sizes": ({"view": {"size": [16, 16], "crop_share": 1.0, "flip": False, "five_crops": False}}, r"model\.size"),
    "five channels": ({"prepare": {"size": [24, 28], "channels": 5, "fit": "crop", "interpolation": "bicubic"}},
                      r"channels: found 5"),
    "no number": ({"view": {"size": [16, 20], "crop_share": float("nan"), "flip": False, "five_crops": False}},
                  "finite"),
    "a digest of another": ({"digest": "0" * 32}, r"digest [0-9a-f]{32}, expected 0{32}.*changed"),
    "thresholds of no form": ({"thresholds": {"identify": [{"rate": "all"}]}}, r"thresholds\.identify\[0\]"),
}  # fmt: skip


@pytest.fixture
def path(model, tmp_path):
    save_safetensors(model, tmp_path / "model.safetensors", counts={"train_classes": 4})
    return tmp_path / "model.safetensors"


def changed(path, **changes):
    """The file with other settings; `model__x` changes one of the model's."""
    with safe_open(path, "pt") as file:
        settings = json.loads(file.metadata()[KEY])
    for name, value in changes.items():
        place, _, inner = name.partition("__")
        if inner:
            settings[place][inner] = value
        else:
            settings[place] = value
    save_file(load_file(path), path, metadata={KEY: json.dumps(settings)})
    return path


def test_the_same_model_again(model, path, photos):
    again = circlet.load(path)
    assert again.digest == model.digest
    assert again.source == path
    assert (again.view, again.decoding, again.dim) == (model.view, model.decoding, 16)
    assert torch.equal(again.embed(photos, show_progress=False), model.embed(photos, show_progress=False))
    assert read_settings(path).counts == {"train_classes": 4}
    assert read_settings(path).name == "first_run"


def test_no_path_of_this_machine_is_in_it(model, path, photos):
    raw = path.read_bytes()
    for folder in (photos, model.source.parent, path.parent):
        assert os.fsencode(folder) not in raw


def test_a_file_saved_again_is_the_same(path, tmp_path):
    save_safetensors(load_model(path), tmp_path / "again.safetensors")
    assert read_settings(tmp_path / "again.safetensors") == read_settings(path)


def test_thresholds_stay_with_it(model, tmp_path):
    from circlet.evaluate.thresholds import choose_thresholds

    rows, labels = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6).repeat(10)
    model.thresholds = choose_thresholds(rows, labels, fpirs=(0.1,), fars=(0.01,))
    save_safetensors(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").thresholds == model.thresholds


@pytest.mark.parametrize("other", [{"flip": True}, {"head": "bnneck"}, {"embedding_dim": None, "head": "none"}])
def test_other_views_and_heads(photos, tmp_path, other):
    config = {name: value for name, value in other.items() if name != "flip"}
    run = make_run(tmp_path / "run", photos, **config)
    if "flip" in other:
        content = json.loads((run / "config.json").read_text())
        content["test"]["flip"] = True
        (run / "config.json").write_text(json.dumps(content))
    model = load_model(run, device="cpu")
    save_safetensors(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert (again.digest, again.view.flip) == (model.digest, "flip" in other)


@pytest.mark.parametrize("what", WORSE)
def test_settings_that_cannot_be(path, what):
    changes, message = WORSE[what]
    with pytest.raises(ValueError, match=message) as caught:
        load_model(changed(path, **changes))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"model__embedding_dim": 10**9}, {"model__embedding_dim": 10**19},
                                     {"model__backbone": "ir_resnet100"}, {"model__backbone": "resnet50"}])  # fmt: skip
def test_claims_beyond_what_the_file_holds_take_no_memory(path, changes):
    with pytest.raises(
        ValueError, match=r"another architecture|settings of no network|whole number|expected 112 x 112"
    ):
        load_model(changed(path, **changes))


def test_a_foreign_backbone_needs_trust(path, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('it was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"nothing was imported\. If you trust it: --trust evil_module:Net"):
        load_model(changed(path, model__backbone="evil_module:Net"))
    with pytest.raises(ValueError, match=r"local-dir:/etc.*nothing was imported"):
        load_model(changed(path, model__backbone="timm/local-dir:/etc"))


def test_a_backbone_of_ones_own_goes_with_trust(photos, tmp_path):
    name = "examples.own_backbone:Patches"
    run = make_run(tmp_path / "run", photos, backbone=name)
    model = load_model(run, trust=[name], device="cpu")
    save_safetensors(model, tmp_path / "model.safetensors", trust=[name])
    with pytest.raises(ValueError, match="If you trust it"):
        load_model(tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors", trust=[name]).digest == model.digest


def test_weights_of_others_are_not_a_model(path):
    save_file(load_file(path), path)
    with pytest.raises(ValueError, match="without circlet's settings, expected one of circlet export"):
        load_model(path)


def test_other_tensors_than_its_network_has(path):
    tensors = load_file(path)
    name = next(iter(tensors))
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({**tensors, name: torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(ValueError, match="of another shape"):
        load_model(path)
    save_file({key: value for key, value in tensors.items() if key != name}, path, metadata=metadata)
    with pytest.raises(ValueError, match="1 missing"):
        load_model(path)


def headers():
    whole = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    yield b""
    yield b"\x08"
    yield struct.pack("<Q", 2**63) + b"{}"
    yield struct.pack("<Q", 10**8 + 1) + b"{}"
    yield struct.pack("<Q", 50) + b"{"
    for change in ({"dtype": "F99"}, {"shape": [-1]}, {"shape": [2**62, 2**62]}, {"data_offsets": [0, 2**40]},
                   {"data_offsets": [8, 0]}, {"data_offsets": [4, 12]}, {"shape": [10**9]}):  # fmt: skip
        text = json.dumps({"a": {**whole["a"], **change}}).encode()
        yield struct.pack("<Q", len(text)) + text + bytes(8)
    text = b"[" * 5000
    yield struct.pack("<Q", len(text)) + text
    text = json.dumps({"__metadata__": {KEY: "[" * 100_000}}).encode()
    yield struct.pack("<Q", len(text)) + text
    text = json.dumps({"__metadata__": {KEY: "9" * 100_000}}).encode()
    yield struct.pack("<Q", len(text)) + text
    text = json.dumps({"__metadata__": {KEY: " " * (1 << 21)}}).encode()
    yield struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize("content", list(headers()))
def test_hostile_headers_are_one_clear_error(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.safetensors: ") as caught:
        load_model(tmp_path / "m.safetensors")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.99999])
def test_a_file_that_was_cut_off(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"model\.safetensors: found no readable safetensors file"):
        load_model(path)


def test_a_bit_that_was_turned(path):
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 0x40
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="damaged or was changed"):
        load_model(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ValueError, match=r"pipe\.safetensors: found a named pipe"):
        load_safetensors(tmp_path / "pipe.safetensors")
    with pytest.raises(FileNotFoundError):
        load_safetensors(tmp_path / "none.safetensors")


def test_a_model_that_could_not_be_built_again_is_not_written(model, tmp_path):
    model.network.head.append(torch.nn.Linear(16, 3))
    with pytest.raises(ValueError, match="cannot be saved to one file"):
        save_safetensors(model, tmp_path / "model.safetensors")
    assert os.listdir(tmp_path) == []
