"""ONNX: the model's own vectors to 1e-4, any batch, from bytes of the decoded size; or an error and no file."""

import json
import os

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from circlet.data.pixels import Decoding
from circlet.export import OnnxModel, export, read_metadata, to_onnx
from circlet.export.deployed import Deployed, deployed
from circlet.export.onnx_file import model_rows
from circlet.inference import Model
from circlet.models import Embedder, SmallResNet, View, embed
from circlet.models.views import plain_view

VIEWS = {
    "cut out": (View((14, 18), 0.875), (16, 20)),  # nothing to scale
    "scaled": (View((16, 20), 0.8), (24, 28)),
    "halved": (View((16, 16)), (80, 50)),
    "whole": (View((16, 20)), (16, 20)),
    "mirrored": (View((16, 20), 0.8, flip=True), (24, 28)),
    "five crops": (View((16, 20), five_crops=True), (24, 28)),
    "five crops mirrored": (View((16, 20), flip=True, five_crops=True), (20, 24)),
}


def model_with(view, size, channels=3, **settings):
    torch.manual_seed(0)
    given = {"image_size": view.size, "channels": channels, "mean": (0.4,), "std": (0.3,), "pooling": "gem", **settings}
    network = Embedder(SmallResNet(channels), 8, **given)
    return Model(network, view, Decoding(size, channels), name="it", device="cpu")


def pictures(count, size, channels=3):
    generator = torch.Generator().manual_seed(1)
    small = torch.randint(256, (count, channels, 5, 4), generator=generator, dtype=torch.uint8)
    return nn.functional.interpolate(small.float(), size, mode="bilinear").to(torch.uint8)


@pytest.mark.parametrize("which", VIEWS)
def test_the_deployed_network_sees_what_the_model_sees(which):
    view, size = VIEWS[which]
    model, images = model_with(view, size), pictures(5, size)
    seen = images.float() / 255 if view.five_crops else plain_view(images, view.size, view.crop_share)
    crop = view.size if view.five_crops else None
    expected = embed(model.network, [seen], flip=view.flip, crop=crop)
    with torch.no_grad():
        for network in (Deployed(model.network, view), deployed(model)):
            torch.testing.assert_close(network(images.permute(0, 2, 3, 1)), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(model_rows(model, images), expected, atol=1e-5, rtol=0)


def test_a_zero_embedding_stays_zero():
    view, size = VIEWS["whole"]
    model = model_with(view, size)
    model.network.head = nn.Sequential(nn.Linear(128, 8))
    nn.init.zeros_(model.network.head[0].weight)
    nn.init.zeros_(model.network.head[0].bias)
    with torch.no_grad():
        assert torch.equal(Deployed(model.network, view)(pictures(2, size).permute(0, 2, 3, 1)), torch.zeros(2, 8))


def test_any_batch_of_bytes(tmp_path):
    view, size = VIEWS["mirrored"]
    model = model_with(view, size)
    found = to_onnx(model, pictures(12, size))
    assert found.difference < 1e-5
    assert found.num_images == 12
    session = OnnxModel(found.content)
    images = pictures(11, size)
    expected = model_rows(model, images).numpy()
    for count in (1, 2, 3, 11):
        rows = session(np.ascontiguousarray(images[:count].permute(0, 2, 3, 1).numpy()))
        np.testing.assert_allclose(rows, expected[:count], atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    from circlet.inference import load_model

    out = tmp_path_factory.mktemp("out") / "model.onnx"
    return export(load_model(run, device="cpu"), out=out)


def test_a_run_is_exported_on_its_test_images(exported, model, photos):
    assert exported.difference < 1e-5
    assert exported.compared_on == "16 test images of the run"
    assert sorted(os.listdir(exported.path.parent)) == ["README.md", "export.json", "model.onnx"]
    expected = model.embed(photos, show_progress=False)
    from circlet.data.pixels import load_pixels
    from circlet.inference import image_set

    batches = load_pixels(image_set(photos), model.decoding).batches(7)
    torch.testing.assert_close(OnnxModel(exported.path).embed(batches), expected, atol=1e-5, rtol=0)


def test_what_the_file_says_of_itself(exported, model, photos):
    proto = onnx.load(exported.path)
    onnx.checker.check_model(proto, full_check=True)
    (given,), (made,) = proto.graph.input, proto.graph.output
    shape = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, given.type.tensor_type.elem_type, shape) == ("images", onnx.TensorProto.UINT8,
                                                                     ["batch", 24, 28, 3])  # fmt: skip
    assert (made.name, made.type.tensor_type.shape.dim[1].dim_value) == ("embeddings", 16)
    said = read_metadata(exported.path)
    assert said["digest"] == model.digest
    assert said["prepare"] == {"size": [24, 28], "fit": "crop", "interpolation": "bicubic"}
    assert said["in_graph"]["crop_share"] == 0.8
    assert said["name"] == "first_run"
    assert "def pixels(path)" in proto.doc_string
    raw = exported.path.read_bytes()
    for place in (photos, model.source.parent, os.getcwd()):
        assert os.fsencode(place) not in raw


def test_the_record_of_it(exported, model):
    from circlet.download import sha256_of

    record = json.loads((exported.path.parent / "export.json").read_text())
    entry = record["files"]["model.onnx"]
    assert entry["digest"] == model.digest
    assert entry["sha256"] == sha256_of(exported.path)
    assert entry["difference"] == exported.difference


class Moody(nn.Module):
    """Gives other numbers to the exporter than to everybody else."""

    def forward(self, images):
        pooled = images.mean((2, 3))
        return pooled + 1.0 if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() else pooled * 3 - 0.5


def test_a_graph_that_gives_other_vectors_is_not_written(tmp_path):
    view, size = VIEWS["whole"]
    network = Embedder(Moody(), None, image_size=view.size, pooling="own", head="none")
    model = Model(network, view, Decoding(size), name="moody", device="cpu")
    with pytest.raises(
        ValueError, match=r"moody: found unit vectors of the ONNX graph up to .* expected at most 1e-04"
    ):
        export(model, out=tmp_path / "moody.onnx")
    assert os.listdir(tmp_path) == []


class Looking(nn.Module):
    """Decides by the numbers of an image, which no graph does."""

    def forward(self, images):
        return images.mean((2, 3)) if float(images.sum()) > 0 else images.amax((2, 3))


def test_a_network_that_has_no_graph_is_named(tmp_path):
    view, size = VIEWS["whole"]
    network = Embedder(Looking(), None, image_size=view.size, pooling="own", head="none")
    model = Model(network, view, Decoding(size), name="looking", device="cpu")
    with pytest.raises(
        ValueError, match=r"^looking: Looking cannot be exported to ONNX \(.*--to safetensors"
    ) as caught:
        export(model, out=tmp_path / "it.onnx")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_what_stands_there_is_left_alone(model, tmp_path, monkeypatch):
    (tmp_path / "export.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=r"export\.json: .*expected none, or one of circlet export"):
        export(model, out=tmp_path / "model.onnx")
    (tmp_path / "export.json").unlink()
    (tmp_path / "README.md").write_text("mine\n")
    done = export(model, to="safetensors", out=tmp_path / "model.safetensors")
    assert not done.card
    assert (tmp_path / "README.md").read_text() == "mine\n"
    for out, message in (("model.txt", "ends in .onnx"), ("model.safetensors", "ends in .onnx")):
        with pytest.raises(ValueError, match=message):
            export(model, out=tmp_path / out)
    with pytest.raises(ValueError, match="int8: found with safetensors"):
        export(model, to="safetensors", int8=True)
    with pytest.raises(ValueError, match="licence: found 'My <b>', expected one as the Hugging Face Hub spells it"):
        export(model, to="safetensors", licence="My <b>")


def test_a_licence_that_was_said_stays(model, tmp_path):
    for licence in ("cc-by-nc-4.0", None):
        export(model, to="safetensors", out=tmp_path / "model.safetensors", licence=licence)
        assert 'license: "cc-by-nc-4.0"' in (tmp_path / "README.md").read_text()


def test_missing_images_of_a_run_are_told(photos, tmp_path):
    import shutil

    from circlet.inference import load_model
    from tests.export.made import make_run

    copied = shutil.copytree(photos, tmp_path / "photos")
    run = make_run(tmp_path / "run", copied)
    shutil.rmtree(copied)
    model = load_model(run, device="cpu")
    with pytest.raises(
        ValueError, match=r"its images, to compare the export with the model, were not found .*--images"
    ):
        export(model)
    assert not (run / "export").exists()


def test_images_for_a_network_by_its_name(model, photos, tmp_path):
    from circlet.export.images import images_of

    model.source = None
    found = images_of(model)
    assert found.compared.shape == (10, 3, 24, 28)
    assert found.what == "crops of a photograph"
    assert images_of(model, photos).compared.shape == (32, 3, 24, 28)
    with pytest.raises(ValueError, match=r"int8 needs images .*--images FOLDER"):
        images_of(model, to_quantise=True)
    (tmp_path / "a" / "one").mkdir(parents=True)
    (tmp_path / "a" / "one" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"found no image that can be read .*broken"):
        images_of(model, tmp_path / "a")


def test_without_the_extra(model, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ImportError, match=r"onnxscript is not installed; expected the extra: pip install 'circlet\[exp"
    ):
        export(model)
