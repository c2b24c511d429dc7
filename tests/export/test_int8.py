"""Eight bits: a way chosen on training images, its cost measured on test classes, the file as any other."""

import json

import numpy as np
import onnx
import pytest
import torch

from circlet.export import OnnxModel, export, read_metadata
from circlet.export.images import images_of
from circlet.export.int8 import _head_in_bytes
from circlet.export.onnx_file import model_rows
from circlet.inference import load_model


@pytest.fixture(scope="module")
def done(run, tmp_path_factory):
    model = load_model(run, device="cpu")
    return model, export(model, int8=True, out=tmp_path_factory.mktemp("out") / "model-int8.onnx")


def test_it_is_near_the_model_and_smaller(done):
    model, found = done
    images = images_of(model).compared
    rows = OnnxModel(found.path).embed(images.split(5))
    assert float((rows * model_rows(model, images)).sum(1).min()) > 0.97
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    whole = sum(tensor.nbytes for tensor in model.network.state_dict().values())
    assert found.path.stat().st_size < whole / 2
    onnx.checker.check_model(onnx.load(found.path), full_check=True)
    assert read_metadata(found.path)["digest"] == model.digest


def test_the_best_way_was_taken_and_its_cost_is_kept(done):
    found = done[1]
    eight = found.int8
    assert eight.cosine == max(eight.cosines.values()) == eight.cosines[eight.way] > 0.97
    assert {"recall@1", "map@r"} <= eight.cost.keys()
    for name, change in eight.cost.items():
        assert change == eight.eight[name] - eight.whole[name]
    entry = json.loads((found.path.parent / "export.json").read_text())["files"]["model-int8.onnx"]
    assert (entry["way"], entry["whole"]["recall@1"]) == (eight.way, eight.whole["recall@1"])
    assert f"At 8 bits (model-int8.onnx), on the same classes: Recall@1 {eight.cost['recall@1']:+.4f}, MAP@R" in (
        found.path.parent / "README.md").read_text()  # fmt: skip


def test_what_is_measured_is_what_the_model_finds(done, run):
    from circlet.experiments import evaluate_run

    metrics = evaluate_run(run, torch.device("cpu"))[1].metrics
    for name in ("recall@1", "map@r"):
        assert done[1].int8.whole[name] == pytest.approx(metrics[name], abs=1e-6)


def test_training_images_calibrate_and_test_images_do_not(model, photos):
    found = images_of(model, to_quantise=True)
    assert found.calibrated.shape[1:] == found.chosen.shape[1:] == (3, 24, 28)
    assert len(found.calibrated) + len(found.chosen) == 16  # the training images of the run
    kinds = [
        {image.numpy().tobytes() for image in images} for images in (found.calibrated, found.chosen, found.compared)
    ]
    assert not kinds[0] & kinds[1]
    assert not (kinds[0] | kinds[1]) & kinds[2]


def test_images_that_are_given(model, photos, tmp_path):
    found = images_of(model, photos, to_quantise=True)
    assert found.test.query.images.num_classes == 4
    with pytest.raises(ValueError, match=r"found 1 class, expected a folder for each of at least two"):
        images_of(model, photos / "class <b>*0*", to_quantise=True)


@pytest.mark.parametrize("turned", [0, 1])
def test_weights_in_bytes(turned):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 7)).astype(np.float32) * np.array([[1e-3], [1], [10], [0], [2]], np.float32)
    given = weight if turned else np.ascontiguousarray(weight.T)
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=turned)
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", dim]) for name, dim in
              (("x", 7), ("y", 5))]  # fmt: skip
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [onnx.numpy_helper.from_array(given, "w")])
    _head_in_bytes(onnx, graph)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    import onnxruntime

    x = rng.normal(size=(3, 7)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found, expected = session.run(None, {"x": x})[0], x @ weight.T
    bound = np.abs(x).sum(1, keepdims=True) * np.abs(weight).max(1)[None] / 254
    assert (np.abs(found - expected) <= bound + 1e-6).all()
