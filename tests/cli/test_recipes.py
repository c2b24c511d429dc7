"""`circlet recipes`, and every recipe of the paper from start to end on its data set in miniature."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from circlet.cli import main
from circlet.experiments import Experiment
from circlet.recipes import RECIPES
from circlet.recipes.names import OWN
from tests.cli.ranks import verb_on_ranks
from tests.data import miniature

WRITERS = {
    "cub200": miniature.write_cub200,
    "cars196": miniature.write_cars196,
    "sop": miniature.write_sop,
    "inshop": miniature.write_inshop,
    "vehicleid-800": miniature.write_vehicleid,
    "market1501": miniature.write_market,
    "msmt17": miniature.write_msmt17,
    "ms1mv2": lambda root: miniature.write_face_records(root, persons=8),
}
TINY = ["--steps", "2", "--loop.log-every", "1", "--model.backbone", "small", "--data.size", "40", "24", "--model.size",
        "32", "16", "--batch.classes", "2", "--batch.samples", "2", "--data.workers", "0",
        "--loop.precision", "fp32"]  # fmt: skip
OF_TASK = {
    "retrieval": {"recall@1", "r_precision", "map@r", "mrr"},
    "reid": {"rank-1", "rank-5", "mAP", "mINP"},
    "face": {"recall@1", "r_precision", "map@r", "mrr"},
}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A root with each data set in miniature, by its name."""
    root = tmp_path_factory.mktemp("miniature")
    for name, write in WRITERS.items():
        write(root / name)
    miniature.write_face_bin(root / "bins" / "lfw.bin")
    miniature.write_ijbc(root / "ijbc")
    return root


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(data, name, *arguments):
    """Train a recipe in miniature; its result.json."""
    experiment = RECIPES[name]()
    pooling = ["--model.pooling", "average"] if experiment.model.pooling == "flatten" else []
    root = data / experiment.data.source
    assert main(["train", name, "--root", str(root), "--run-dir", f"runs/{name}", *TINY, *pooling, *arguments]) == 0
    with open(f"runs/{name}/result.json") as file:
        return json.load(file)


@pytest.mark.slow
@pytest.mark.subprocess  # Cars196 reads its annotations in one
@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe not in OWN])
def test_from_data_set_to_report(name, data, tmp_path, capsys):
    result = train(data, name)
    assert OF_TASK[RECIPES[name]().task] <= result["test"].keys() == result["raw_pixels"].keys()
    assert all(0 <= value <= 1 for value in result["test"].values())
    assert "<!doctype html>" in (tmp_path / "runs" / name / "report.html").read_text()[:20]
    out = capsys.readouterr().out
    assert ("training from random weights" in out) == (RECIPES[name]().task != "face")
    config = Experiment.from_json(json.loads((tmp_path / "runs" / name / "config.json").read_text()))
    assert config.recipe == name
    assert config.loss == RECIPES[name]().loss


def test_face_test_sets_join_the_result_and_the_table(data, capsys):
    result = train(data, "circle-r34-ms1m", "--faces.lfw", str(data / "bins"))
    assert result["test"].keys() - result["raw_pixels"].keys() == {"lfw", "lfw std", "lfw@1e-3"}
    assert "face test sets" in capsys.readouterr().out
    run = "runs/circle-r34-ms1m"
    assert main(["evaluate", run, "--faces.ijbc", str(data / "ijbc"), "--json", "out.json"]) == 0
    with open("out.json") as file:
        again = json.load(file)["test"]
    assert again["lfw"] == result["test"]["lfw"]
    assert "ijb-c@1e-4" in again
    assert main(["report", run]) == 0


@pytest.mark.slow
@pytest.mark.subprocess
def test_records_on_two_ranks_train_as_on_one(data):
    losses = []
    for ranks in (1, 2):
        verb_on_ranks(ranks, [
            "train", "circle-r34-ms1m", "--root", data / "ms1mv2", "--run-dir", f"on{ranks}", *TINY, "--steps", "3",
            "--loss.level", "pair", "--batch.sampler", "pk", "--data.test-share", "2", "--model.pooling", "average",
            "--model.head", "linear", "--model.dropout", "0", "--loop.optimizer.freeze-batchnorm", "--augment.no-flip",
            "--no-report",
        ])  # fmt: skip
        losses.append([json.loads(line)["loss"] for line in Path(f"on{ranks}/metrics.jsonl").read_text().splitlines()])
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_missing_face_test_set_is_found_before_the_run(data, tmp_path, capsys):
    arguments = ["--root", str(data / "ms1mv2"), "--faces.ytf", "nowhere", *TINY, "--model.pooling", "average"]
    assert main(["train", "circle-r34-ms1m", *arguments]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert list(tmp_path.rglob("*.json")) == []


def test_evaluate_takes_the_runs_test_options_and_those_of_the_flags(data, tmp_path, capsys):
    result = train(data, "circle-r50-market", "--test.average-precision", "trapezoid")
    run = "runs/circle-r50-market"
    assert main(["evaluate", run, "--json", "same.json"]) == 0
    options = ["--test.flip", "--test.crop", "--test.rerank", "--test.expand", "2", "--test.average-precision", "step"]
    assert main(["evaluate", run, *options, "--json", "other.json"]) == 0
    same, other = (json.loads((tmp_path / name).read_text()) for name in ("same.json", "other.json"))
    assert same["test"] == result["test"]
    assert "mAP (trapezoid)" in same["test"]
    assert "mAP" in other["test"]
    assert main(["evaluate", run, "--root", str(data / "market1501")]) == 0  # a plain folder: no cameras
    assert "recall@1" in capsys.readouterr().out
    assert main(["embed", run]) == 0
    assert np.load("embeddings.npy").shape == (9, 128)


def test_the_file_of_weights_is_needed_at_the_start_only(data, tmp_path):
    from circlet.models import SmallResNet

    torch.manual_seed(1)
    torch.save(SmallResNet(3).state_dict(), tmp_path / "small.pth")
    train(data, "circle-cub", "--model.weights", "small.pth", "--loop.optimizer.learning-rate", "1e-9")
    trained = torch.load("runs/circle-cub/last.pt", weights_only=True)["model"]
    start = torch.load("small.pth", weights_only=True)
    torch.testing.assert_close(trained["backbone.layers.0.0.weight"], start["layers.0.0.weight"])
    (tmp_path / "small.pth").unlink()
    assert main(["evaluate", "runs/circle-cub"]) == 0
    assert main(["train", "--resume", "runs/circle-cub"]) == 0


def test_the_list_has_the_papers_figures_and_those_of_own_runs(data, tmp_path, capsys):
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name} " in text for name in RECIPES)
    assert "paper: rank-1 94.2, mAP 84.9" in text
    assert "runs/" not in text
    recall = train(data, "circle-cub")["test"]["recall@1"]
    for name, content in {"half": "{", "other": '{"recipe": "theirs"}', "older": '{"colour": 1}'}.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "config.json").write_text(content)
        (tmp_path / "runs" / name / "result.json").write_text('{"test": {}}')
    capsys.readouterr()
    assert main(["recipes", "list"]) == 0
    text = capsys.readouterr().out
    (line,) = re.findall(r"runs/.*", text)
    assert line.startswith(f"runs/circle-cub: recall@1 {round(100 * recall, 2):g}, recall@2 ")
    assert "changed: data.size, model.backbone" in line
    assert "data.root" not in line
    assert text.index("circle-cub ") < text.index(line) < text.index("circle-cars ")


def test_the_list_has_what_evaluate_found_later(data, tmp_path, capsys):
    def shown():
        capsys.readouterr()
        assert main(["recipes"]) == 0
        return re.findall(r"runs/.*?(?=;|$)", capsys.readouterr().out, re.MULTILINE)

    found = train(data, "circle-r34-ms1m")["test"]
    run = tmp_path / "runs" / "circle-r34-ms1m"
    assert shown() == ["runs/circle-r34-ms1m: "]  # no face test set, none of the paper's figures
    faces = ["--faces.lfw", str(data / "bins"), "--faces.ijbc", str(data / "ijbc")]
    assert main(["evaluate", str(run), *faces]) == 0
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["config"]["faces"]["lfw"] == str(data / "bins")
    lfw, ijbc = (round(100 * kept["test"][name], 2) for name in ("lfw", "ijb-c@1e-4"))
    assert shown() == [f"runs/circle-r34-ms1m: lfw {lfw:g}, " + shown()[0].split(", ", 1)[1]]
    assert f"ijb-c@1e-4 {ijbc:g}" in shown()[0]
    # Data that have moved since are the same data.
    config = json.loads((run / "config.json").read_text())
    config["data"].update(root="moved", images="moved", workers=5)
    (run / "config.json").write_text(json.dumps(config))
    assert f"ijb-c@1e-4 {ijbc:g}" in shown()[0]
    # The run's own figures come first.
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "test": {**found, "lfw": 0.125, "ijb-c@1e-4": None}}))
    assert shown()[0].startswith("runs/circle-r34-ms1m: lfw 12.5, ")
    assert f"ijb-c@1e-4 {ijbc:g}" in shown()[0]
    # Other images and another checkpoint are not the run's result.
    before = (run / "evaluation.json").read_bytes()
    config["data"].update(root=str(data / "ms1mv2"), images=None, workers=0)
    (run / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(run), "--root", str(data / "cub200" / "CUB_200_2011" / "images")]) == 0
    assert main(["evaluate", str(run), "--checkpoint", str(run / "last.pt")]) == 0
    assert (run / "evaluation.json").read_bytes() == before
    # Neither is a test of another form, nor of a run that has gone on with other settings since.
    assert main(["evaluate", str(run), *faces, "--test.no-flip"]) == 0
    assert shown() == ["runs/circle-r34-ms1m: lfw 12.5"]
    (run / "evaluation.json").write_bytes(before.replace(b'"steps": 2', b'"steps": 3'))
    assert shown() == ["runs/circle-r34-ms1m: lfw 12.5"]
    (run / "evaluation.json").write_text("[")
    assert shown() == ["runs/circle-r34-ms1m: lfw 12.5"]


def test_reranked_figures_do_not_take_the_place_of_plain_ones(data, tmp_path, capsys):
    found = train(data, "circle-r50-market", "--test.average-precision", "trapezoid")["test"]
    rank = f"rank-1 {round(100 * found['rank-1'], 2):g}"

    def shown(*flags):
        assert main(["evaluate", "runs/circle-r50-market", "--test.average-precision", "step", *flags]) == 0
        evaluated = json.loads((tmp_path / "runs" / "circle-r50-market" / "evaluation.json").read_text())["test"]
        capsys.readouterr()
        assert main(["recipes"]) == 0
        return re.findall(r"runs/.*?(?=;|$)", capsys.readouterr().out, re.MULTILINE), evaluated["mAP"]

    assert shown("--test.rerank")[0] == [f"runs/circle-r50-market: {rank}"]
    lines, mean = shown()
    assert lines == [f"runs/circle-r50-market: {rank}, mAP {round(100 * mean, 2):g}"]


def test_a_run_that_cannot_be_written_to_is_tested_all_the_same(data, monkeypatch, capsys):
    train(data, "circle-cub")
    monkeypatch.setattr("circlet.training.RunFolder.write_json", lambda *_: (_ for _ in ()).throw(OSError("read-only")))
    assert main(["evaluate", "runs/circle-cub"]) == 0
    shown = capsys.readouterr()
    assert "embedding" in shown.out
    assert "circlet evaluate: read-only" in shown.err


def test_show_has_every_setting_with_its_origin(capsys):
    assert main(["recipes", "show", "circle-cub"]) == 0
    text = capsys.readouterr().out
    assert "the paper's table 5, in percent: recall@1 66.7, recall@2 77.4, recall@4 86.2, recall@8 91.2" in text
    assert re.search(r"^loss.gamma +80.0 +stated: the paper's settings for fine-grained retrieval$", text, re.MULTILINE)
    assert re.search(r"^loop.optimizer.learning_rate +3e-05 +chosen: ", text, re.MULTILINE)
    assert main(["recipes", "show", "glyphs"]) == 0
    assert main(["recipes", "show", "circle-birds"]) == 1
    assert "expected one of circle-" in capsys.readouterr().err
