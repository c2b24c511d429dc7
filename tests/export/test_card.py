"""The model card: what a run's files say, in the hub's form; nothing in it that others could make act."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from circlet.evaluate.threshold import Threshold, Thresholds
from circlet.experiments import DataConfig, Experiment, ModelConfig
from circlet.export import model_card
from circlet.export.card import MARK, Facts, facts_of, safe
from circlet.export.licences import checked_licence, data_licence, weights_licence
from circlet.export.record import default_folder
from circlet.inference import load_model
from tests.export.made import make_run


def front_matter(text):
    """As YAML is read by the hub's own library."""
    from huggingface_hub import ModelCard

    return ModelCard(text).data


def section(text, title):
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_what_a_run_has_found(model):
    text = model_card(facts_of(model, files=("model.safetensors", "model.onnx")))
    data = front_matter(text)
    assert (data.library_name, data.license, data.pipeline_tag) == ("circlet", "unknown", "image-feature-extraction")
    assert "onnx" in data.tags
    assert {(each.metric_type, each.metric_value) for each in data.eval_results} == {("recall_1", 0.75), ("map_r", 0.5)}
    results = section(text, "Results")
    assert "|  | Recall@1 | MAP@R |\n|---|---|---|\n" in results
    assert "| this model | 0.750 [0.625, 0.875] | 0.500 |\n| raw pixels | 0.250 | 0.125 |" in results
    assert "On 16 images of 4 classes that were not in the training; in brackets 95 % intervals" in results
    assert "Source: a folder of images. Trained on 16 images of 4 classes." in section(text, "Data")
    assert "none of which was trained on" in section(text, "Data")
    assert "None were chosen" in section(text, "Thresholds")
    assert "This model: unknown. Whoever publishes it fills it in" in section(text, "Licences")
    assert "Weights it began with: none, it began from random ones." in section(text, "Licences")
    assert "Images: unknown (the images of the training)" in section(text, "Licences")
    assert 'circlet.load("model.safetensors")' in text
    assert 'onnxruntime.InferenceSession("model.onnx")' in text
    assert MARK in text
    assert "\n\n\n" not in text


def test_the_code_on_it_runs(model, photos, tmp_path):
    text = model_card(facts_of(model, files=("model.onnx",)))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(code, "card", "exec")
    assert "def pixels(path):" in code


def test_no_path_and_no_class_is_in_it(model, photos):
    text = model_card(facts_of(model))
    for private in (str(photos), str(model.source.parent), "class"):
        assert private not in text.replace("classes", "")


def test_thresholds_are_told_with_their_meaning(model):
    chosen = Threshold("identify", 0.1, 0.62, 40, 400, 40, 1000, 0.08, True, 0.05, 0.1, 0.03)
    model.thresholds = Thresholds((chosen,), ())
    text = section(model_card(facts_of(model)), "Thresholds")
    assert chosen.sentence in text
    assert "chosen on validation classes" in text


def test_what_eight_bits_cost(model):
    text = model_card(facts_of(model, files=("model-int8.onnx",), int8={"recall@1": -0.0125, "map@r": 0.001}))
    assert "At 8 bits (model-int8.onnx), on the same classes: Recall@1 -0.0125, MAP@R +0.0010." in text


def test_a_pretrained_network_by_its_name():
    text = model_card(facts_of(load_model("efficientnet_lite0", device="cpu")))
    assert "the network is as it was published, and was not tested here" in text
    assert "Weights: apache-2.0 (weights of Google's EfficientNet-Lite, trained on ImageNet), https://" in text
    assert front_matter(text).eval_results is None


@pytest.mark.parametrize("bad", ["<script>alert(1)</script>", "](javascript:alert(1))", "**x** `y` | z", "a\nb\x1b[2J",
                                 "---\nlicense: mit", "# head", "{{ 7 * 7 }}", "![](http://evil)"])  # fmt: skip
def test_names_of_others_stay_text(model, bad):
    settings = replace(Experiment(), model=replace(ModelConfig(), backbone=bad), data=replace(DataConfig(), source=bad))
    text = model_card(Facts(model, settings, {"test": {bad: 0.5}, "raw_pixels": {}}))
    for raw in ("<script", "](javascript", "\x1b", "\nlicense: mit\n", "**x**", "\n# head", "49", "![]("):
        assert raw not in text.replace(json.dumps(bad)[1:-1], "")
    assert front_matter(text).license == "unknown"
    assert "\n" not in safe(bad)


def test_a_run_folder_with_a_name_of_markup(photos, tmp_path):
    run = make_run(tmp_path / "<img src=x>_*run*", photos)
    text = model_card(facts_of(load_model(run, device="cpu")))
    assert r"# &lt;img src=x&gt;\_\*run\*" in text
    assert front_matter(text).model_name == "<img src=x>_*run*"


def test_a_run_without_a_result(photos, tmp_path):
    run = make_run(tmp_path / "run", photos, result=None)
    assert "None: the run has none yet." in model_card(facts_of(load_model(run, device="cpu")))


def test_licences_are_stated_or_unknown():
    def of(**model):
        return weights_licence(replace(ModelConfig(), **model))

    assert of() is None
    assert of(backbone="efficientnet_lite1", pretrained=True).name == "apache-2.0"
    assert of(backbone="resnet50", pretrained=True).name == "bsd-3-clause"
    assert of(backbone="timm/no_such_network", pretrained=True).name == "unknown"
    assert "my.pth" in of(weights=Path("/home/me/my.pth")).of
    assert data_licence(replace(Experiment(), data=DataConfig(source="cub200"))).source.startswith("https://")
    assert "non-commercial" in data_licence(replace(Experiment(), data=DataConfig(source="cub200"))).of
    assert data_licence(replace(Experiment(), data=DataConfig(source="folder"))).name == "unknown"
    assert checked_licence("cc-by-nc-4.0") == "cc-by-nc-4.0"


def test_where_it_goes_by_itself(model, tmp_path):
    assert default_folder(model) == model.source / "export"
    model.source, model.name = None, "timm/hf-hub:owner/../x"
    assert "/" not in str(default_folder(model))
    assert str(default_folder(model)) == "timm_hf-hub_owner_.._x-export"
