"""Runs that start from a pretrained network, from start to end: a tiny network, and photos made up of polygons."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

import circlet
from circlet.cli import main
from circlet.data.folder import image_folder
from circlet.evaluate import retrieval
from circlet.experiments import staged
from circlet.models import SmallResNet
from circlet.training import RunFolder
from circlet.training.step import Step
from circlet.transfer import plan
from tests.cli.ranks import verb_on_ranks

NETWORK = ["--transfer.stages", "closed_form", "head", "network", "--steps", "3", "--loop.checkpoint-every", "1",
           "--batch.classes", "4", "--batch.samples", "3"]  # fmt: skip


class Said(NamedTuple):
    """What a command gave: its exit status, its output and its errors."""

    status: int
    out: str
    err: str


def circlet_says(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Said(status, out.getvalue(), err.getvalue())


def polygons(root, num_classes, images, *, seed=0, shake=1.5, shuffled=False):
    """Classes of images of a polygon each, in its own colour, shaken; or the same images in classes drawn by lot."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(num_classes):
        corners, colour = rng.uniform(4, 28, (5, 2)), tuple(rng.integers(0, 255, 3).tolist())
        for _ in range(images):
            drawn.append(Image.new("RGB", (32, 32), "white"))
            points = [tuple(p) for p in corners + rng.normal(0, shake, (5, 2))]
            ImageDraw.Draw(drawn[-1]).polygon(points, fill=colour)
    for place, i in enumerate(rng.permutation(len(drawn)) if shuffled else range(len(drawn))):
        folder = root / f"class {place // images:02}"
        folder.mkdir(parents=True, exist_ok=True)
        drawn[i].save(folder / f"{place:03}.png")
    return root


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv("CIRCLET_CACHE", str(path))
        yield path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(SmallResNet(3).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def flags(weights):
    return ["--model.backbone", "small", "--model.no-pretrained", "--model.weights", weights, "--model.size", 16, 16,
            "--data.size", 20, 20, "--model.crop-share", 0.8, "--data.interpolation", "bilinear", "--model.mean", 0.5,
            "--model.std", 0.5, "--loop.precision", "fp32", "--transfer.head.steps", 20]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return polygons(tmp_path_factory.mktemp("photos"), 24, 6, shake=3.0)


@pytest.fixture(scope="module")
def run(photos, flags, tmp_path_factory):
    """A run of the stages on features, and what it printed."""
    path = tmp_path_factory.mktemp("runs") / "first"
    said = circlet_says("train", "folder", "--root", photos, "--run-dir", path, *flags)
    assert said.status == 0, said.err
    return path, said


@pytest.fixture(scope="module")
def network_run(photos, flags, tmp_path_factory):
    """A run of all stages, and what it printed."""
    path = tmp_path_factory.mktemp("runs") / "network"
    said = circlet_says("train", "folder", "--root", photos, "--run-dir", path, *flags, *NETWORK)
    assert said.status == 0, said.err
    return path, said


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(path, name="result.json"):
    return json.loads((path / name).read_text())


def same_run(one, other):
    """Whether two runs have the same numbers, but for the clock's."""
    results, stages = ([read(path, name) for path in (one, other)] for name in ("result.json", "stages.json"))
    for timed in (*results, *(stage for found in stages for stage in found["stages"])):
        timed.pop("train_seconds", None)
        timed.pop("seconds", None)
    assert results[0] == results[1]
    assert stages[0] == stages[1]
    states = [torch.load(path / "model.pt", weights_only=True)["model"] for path in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# The stages on features


def test_a_run_leaves_everything_behind(run):
    path, said = run
    described = {"config.json", "environment.json", "data.json", "splits.json"}
    found = {"metrics.jsonl", "stages.json", "thresholds.json", "model.pt", "result.json", "report.html"}
    others = {"pairs.jsonl", "audit.json"}
    assert described | found <= {file.name for file in path.iterdir()} <= described | found | others
    result, stages = read(path), read(path, "stages.json")
    assert result["test"].keys() == result["frozen"].keys() == result["raw_pixels"].keys()
    assert {"recall@1", "map@r"} <= result["test"].keys()
    assert (result["checkpoint"], result["train_classes"], result["test_images"]) == ("model.pt", 12, 72)
    assert [stage["stage"] for stage in stages["stages"]] == ["closed form", "linear head"]
    assert stages["frozen"].keys() == {"map@r", "recall@1"}
    assert any(stage["kept"] for stage in stages["stages"])
    for stage in stages["stages"]:
        mean, low, high = stage["difference"]["map@r"]
        assert low <= mean <= high
        if stage["kept"]:
            assert low > 0
    assert "  raw pixels  frozen network  embedding\n" in said.out
    (line,) = [line for line in said.out.splitlines() if line.startswith("recall@1 ")]
    low, high = result["intervals"]["recall@1"]
    assert line.endswith(f"{result['test']['recall@1']:.3f}  ({low:.3f} to {high:.3f})")


def test_it_says_what_came_of_it(run):
    path, said = run
    sentence = read(path, "stages.json")["sentence"]
    assert sentence.startswith("Better than the frozen network on validation classes: closed form")
    assert sentence in said.out
    assert "72 images of 12 classes to train on, 72 to test; small at 16 x 16 pixels" in said.out
    assert "the network is not trained: --minutes 20 would" in said.out


def test_evaluate_and_the_run_in_python_say_the_same(run, tmp_path):
    path, _ = run
    result = read(path)
    said = circlet_says("evaluate", path, "--json", "out.json")
    assert said.status == 0, said.err
    found = read(tmp_path, "out.json")
    parts = ("test", "frozen", "raw_pixels", "intervals", "thresholds", "open_set")
    assert found == {name: result[name] for name in parts}
    loaded = circlet.load(path)
    assert loaded.metrics == result["test"] == loaded.evaluate()
    assert loaded.intervals == {name: tuple(ends) for name, ends in result["intervals"].items()}
    assert loaded.thresholds.to_json() == result["thresholds"]


def test_thresholds_come_from_training_classes_that_their_heads_had_not_seen(run):
    """Worked out here from the folds: another way than `circlet.transfer` goes."""
    path, said = run
    kept, result = read(path, "thresholds.json"), read(path)
    assert kept.pop("chosen_on") == "12 training classes, each embedded by a head that was fitted to others"
    assert kept == result["thresholds"]
    assert [(each["task"], each["rate"]) for each in kept["identify"]] == [("identify", 0.1), ("identify", 0.01)]
    for each in kept["identify"]:
        assert (each["classes"], each["trials"], each["gallery_classes"]) == (12, 72, 11)
        assert each["resolved"] == (each["rate"] == 0.1)  # 72 images cannot tell of 1 in 100
        assert each["found"] <= each["rate"]
    promises = result["open_set"]["promises"]
    assert [(each["task"], each["rate"]) for each in promises] == [
        (each["task"], each["rate"]) for each in (*kept["identify"], *kept["verify"])
    ]
    assert [each["similarity"] for each in promises] == [
        each["similarity"] for each in (*kept["identify"], *kept["verify"])
    ]
    assert result["open_set"]["gallery_classes"] == 11
    assert "Thresholds were chosen on 12 training classes, each embedded by a head" in said.out
    assert "identify, 1 of 10 " in said.out
    assert "Who is it, or nobody known?" in (path / "report.html").read_text()


def test_a_result_of_an_earlier_version_opens(run, tmp_path):
    """Without intervals, thresholds and what they give."""
    path, _ = run
    shutil.copytree(path, tmp_path / "old")
    result = {name: value for name, value in read(path).items() if name not in ("intervals", "thresholds", "open_set")}
    (tmp_path / "old" / "result.json").write_text(json.dumps(result))
    (tmp_path / "old" / "thresholds.json").unlink()
    old = circlet.load(tmp_path / "old")
    assert (old.metrics, old.intervals, old.thresholds) == (result["test"], {}, None)
    assert circlet_says("report", tmp_path / "old").status == 0
    assert "nobody known" not in (tmp_path / "old" / "report.html").read_text()
    said = circlet_says("evaluate", tmp_path / "old")
    assert said.status == 0, said.err
    assert "threshold" not in said.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "found list, expected a JSON object"),
        ('{"identify": [{"task": "identify"}]}', r"identify\[0\].*: found no such key, expected one"),
        ('{"curve": [[1, 2]]}', r"curve\[0\]: found \[1, 2\], expected a list of 3"),
    ],
)
def test_broken_thresholds_are_one_clear_error(run, tmp_path, content, message):
    path, _ = run
    shutil.copytree(path, tmp_path / "broken")
    (tmp_path / "broken" / "thresholds.json").write_text(content)
    with pytest.raises(ValueError, match=f"thresholds.json: {message}"):
        circlet.load(tmp_path / "broken").thresholds  # noqa: B018


def test_embed_gives_what_was_tested(run, photos, tmp_path):
    path, _ = run
    assert circlet_says("embed", path).status == 0
    rows = torch.from_numpy(np.load(tmp_path / "embeddings.npy", allow_pickle=False))
    labels = pyarrow.parquet.read_table(tmp_path / "embeddings.parquet")["label"].to_pylist()
    found, expected = retrieval(rows, labels), read(path)["test"]
    assert found.map_at_r == pytest.approx(expected["map@r"])
    assert found.recall_at_k[1] == pytest.approx(expected["recall@1"])
    assert circlet_says("embed", path, photos, "--out", "all").status == 0
    everything = np.load(tmp_path / "all.npy", allow_pickle=False)
    assert everything.shape == (144, rows.shape[1])
    model = circlet.load(path).model  # by the model itself, without a cache
    with torch.no_grad():
        plain = torch.nn.functional.normalize(model(torch.zeros(1, 3, 16, 16)))
    assert plain.shape == (1, rows.shape[1])


def test_the_report_is_built_again(run, tmp_path):
    path, _ = run
    result = read(path)
    assert circlet_says("report", path, "--out", tmp_path / "again.html").status == 0
    for page in (path / "report.html", tmp_path / "again.html"):
        text = page.read_text()
        recalls = "".join(f"<td>{result[row]['recall@1']:.3f}</td>" for row in ("raw_pixels", "frozen", "test"))
        assert f'<th scope="row">Recall@1</th>{recalls}' in text


def test_once_more_is_the_same(run, photos, flags, tmp_path, monkeypatch):
    """With a cache that is full and with one that is empty."""
    path, _ = run
    assert circlet_says("train", "folder", "--root", photos, "--run-dir", "warm", *flags).status == 0
    same_run(path, tmp_path / "warm")
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "empty"))
    assert circlet_says("train", "folder", "--root", photos, "--run-dir", "cold", *flags).status == 0
    same_run(path, tmp_path / "cold")
    assert circlet_says("train", "--resume", "cold").status == 0
    same_run(path, tmp_path / "cold")


def test_shorter_embeddings_and_mirror_images(run, photos, flags, tmp_path):
    more = ["--model.embedding-dim", 16, "--test.flip"]
    assert circlet_says("train", "folder", "--root", photos, "--run-dir", "r", *flags, *more).status == 0
    assert circlet_says("embed", "r").status == 0
    assert np.load(tmp_path / "embeddings.npy").shape == (72, 16)
    assert circlet_says("evaluate", "r", "--json", "out.json").status == 0
    assert read(tmp_path, "out.json")["test"] == read(tmp_path / "r")["test"]
    assert read(tmp_path / "r")["raw_pixels"] == read(run[0])["raw_pixels"]


# Where there is nothing to gain, or nothing to judge by


def test_too_few_classes_leave_the_frozen_network(flags, tmp_path):
    root = polygons(tmp_path / "few", 10, 4)
    for stages in ([], NETWORK):
        path = tmp_path / f"run {len(stages)}"
        said = circlet_says("train", "folder", "--root", root, "--run-dir", path, *flags, *stages)
        assert said.status == 0, said.err
        assert "5 training classes are too few to hold some out and judge by them" in said.out
        assert "the frozen network is the result, untrained" in said.out
        assert "the network is not trained: too few classes to judge it by" in said.out
        assert read(path)["test"] == read(path)["frozen"]
        assert read(path, "stages.json")["stages"] == []


def test_labels_that_mean_nothing_make_nothing_worse(flags, tmp_path):
    root = polygons(tmp_path / "noise", 24, 5, seed=1, shuffled=True)
    said = circlet_says("train", "folder", "--root", root, "--run-dir", "r", *flags)
    assert said.status == 0, said.err
    assert "Training did not help" in said.out
    assert "the frozen network is the result" in said.out
    result, stages = read(tmp_path / "r"), read(tmp_path / "r", "stages.json")
    assert result["test"] == result["frozen"]
    assert [stage["kept"] for stage in stages["stages"]] == [False, False]


@pytest.mark.parametrize("stages", [[], NETWORK])
def test_classes_of_one_image_each_leave_the_frozen_network(stages, flags, tmp_path):
    root = polygons(tmp_path / "ones", 24, 1)
    for name in image_folder(root).query.class_names:  # what is searched for has to be there
        with Image.open(next((root / name).iterdir())) as image:
            image.rotate(20).save(root / name / "turned.png")
    said = circlet_says("train", "folder", "--root", root, "--run-dir", "r", *flags, *stages)
    assert said.status == 0, said.err
    assert "12 training classes are too few to hold some out and judge by them" in said.out
    assert read(tmp_path / "r")["test"] == read(tmp_path / "r")["frozen"]


def test_images_that_are_all_the_same(flags, tmp_path):
    """In their pixels: as files they differ, or they would be one picture under twenty labels."""
    for c in range(20):
        (tmp_path / "same" / f"{c:02}").mkdir(parents=True)
        for i in range(3):
            note = PngInfo()
            note.add_text("number", f"{c} {i}")
            Image.new("RGB", (24, 24), "white").save(tmp_path / "same" / f"{c:02}" / f"{i}.png", pnginfo=note)
    said = circlet_says("train", "folder", "--root", tmp_path / "same", "--run-dir", "r", *flags)
    assert said.status == 0, said.err
    assert read(tmp_path / "r")["test"] == read(tmp_path / "r")["frozen"]


# What cannot begin


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--minutes", "0.01"], "found 0.01, expected at least"),
        (["--model.weights", "nowhere.pth"], "nowhere.pth: no such file; expected weights"),
        (["--model.embedding-dim", "9999"], "model.embedding_dim: found 9999, expected at most"),
        (["--model.no-pretrained", "--model.weights", "None"], "transfer.stages: found with small from random weights"),
        (["--model.head", "bnneck"], "model.head: found bnneck with transfer.stages, expected linear"),
        (["--test.crop"], "test.crop: found with transfer.stages, expected none"),
        (["--model.size", "None"], "model.size: found none with backbone small, which does not say"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing_behind(more, message, photos, flags, tmp_path):
    said = circlet_says("train", "folder", "--root", photos, *flags, *more)
    assert said.status == 1
    assert message in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.rglob("*.json")) == []
    assert not list((tmp_path / "runs").glob("*"))


def test_a_run_that_has_begun_stays(run, photos, flags, tmp_path):
    """Its weights are gone when it is to go on: an error, but no reason to delete it."""
    copied = shutil.copytree(run[0], tmp_path / "r")
    config = read(copied, "config.json")
    config["model"]["weights"] = "nowhere.pth"
    (copied / "config.json").write_text(json.dumps(config))
    said = circlet_says("train", "--resume", copied)
    assert said.status == 1
    assert "nowhere.pth: no such file" in said.err
    assert (copied / "config.json").exists()
    assert (copied / "model.pt").exists()


# The network itself


def test_a_network_for_which_no_time_is_left_is_judged_as_far_as_it_was_trained(network_run, tmp_path, monkeypatch):
    copied = shutil.copytree(network_run[0], tmp_path / "r")
    monkeypatch.setattr(staged, "planned", lambda *given: plan.Plan(0.0, 0.0, None, 1e6, 0))
    said = circlet_says("train", "--resume", copied, "--minutes", 20, "--no-report")
    assert said.status == 0, said.err
    assert [stage["stage"] for stage in read(copied, "stages.json")["stages"]][-1] == "network"


def test_all_stages(network_run):
    path, said = network_run
    stages = read(path, "stages.json")["stages"]
    assert [stage["stage"] for stage in stages] == ["closed form", "linear head", "network"]
    assert stages[2]["settings"] == {"mix": stages[2]["settings"]["mix"], "size": [16, 16]}
    assert "the network, about 3 steps" in said.out
    assert torch.load(path / "last.pt", weights_only=True)["step"] == 3
    assert read(path)["checkpoint"] == "model.pt"
    assert circlet_says("evaluate", path, "--json", "out.json").status == 0


def test_a_network_that_is_not_better_is_as_it_was(network_run, run):
    """Three steps are no gain: the rest of the run is that of the stages on features."""
    (path, _), (before, _) = network_run, run
    stages = read(path, "stages.json")["stages"]
    assert not stages[2]["kept"]
    assert read(path)["frozen"] == read(before)["frozen"]
    assert read(path)["raw_pixels"] == read(before)["raw_pixels"]
    if not any(stage["kept"] for stage in stages if stage["stage"] == "linear head"):  # of the same batches or not
        assert read(path)["test"] == read(before)["test"]


@pytest.mark.parametrize("at", ["the first step", "the third step", "the tests"])
def test_cut_off_and_resumed_ends_like_the_uninterrupted_run(at, network_run, photos, flags, tmp_path, monkeypatch):
    real, steps = Step.__call__, []

    def cut(*arguments, **named):
        raise KeyboardInterrupt

    def step(self, *arguments):
        steps.append(self)
        if len(steps) == {"the first step": 1, "the third step": 3}[at]:
            cut()
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        if at == "the tests":
            patch.setattr(staged, "test", cut)
        else:
            patch.setattr(Step, "__call__", step)
        assert circlet_says("train", "folder", "--root", photos, "--run-dir", "cut", *flags, *NETWORK).status == 130
    assert not (tmp_path / "cut" / "result.json").exists()
    assert (tmp_path / "cut" / "last.pt").exists() == (at != "the first step")
    said = circlet_says("train", "--resume", "cut")
    assert said.status == 0, said.err
    same_run(network_run[0], tmp_path / "cut")
    logs = [RunFolder(path).read_metrics() for path in (network_run[0], tmp_path / "cut")]
    for log in logs:
        for line in log:
            for name in [name for name in line if "second" in name or name.startswith(("time", "images_per"))]:
                del line[name]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]


@pytest.mark.slow
def test_low_rank_adapters_end_in_the_same_network(photos, flags, tmp_path):
    more = [*NETWORK, "--transfer.low-rank", "2", "--transfer.mixes", "1.0", "--model.backbone", "efficientnet_lite0",
            "--model.pretrained", "--model.weights", "None", "--model.size", "32", "32", "--data.size", "32",
            "32", "--model.crop-share", "1"]  # fmt: skip
    said = circlet_says("train", "folder", "--root", photos, "--run-dir", "r", *flags, *more)
    assert said.status == 0, said.err
    assert read(tmp_path / "r", "stages.json")["stages"][2]["settings"]["low_rank"] == 2
    assert circlet_says("evaluate", "r", "--json", "out.json").status == 0
    assert read(tmp_path, "out.json")["test"] == read(tmp_path / "r")["test"]


@pytest.mark.slow
def test_the_time_left_goes_to_the_network(photos, flags, tmp_path, monkeypatch):
    for name in ("HEAD_SECONDS", "REPORT_SECONDS", "LEAST_NETWORK_SECONDS"):
        monkeypatch.setattr(plan, name, 0.5)
    more = ["--minutes", "0.3", "--batch.classes", "2", "--batch.samples", "2"]
    said = circlet_says("train", "folder", "--root", photos, "--run-dir", "r", *flags, *more)
    assert said.status == 0, said.err
    assert [stage["stage"] for stage in read(tmp_path / "r", "stages.json")["stages"]][-1] == "network"
    assert torch.load(tmp_path / "r" / "last.pt", weights_only=True)["step"] > 1


# Several ranks


@pytest.mark.slow
@pytest.mark.subprocess
def test_two_ranks_give_what_one_gives(run, photos, flags, tmp_path):
    out = verb_on_ranks(2, ["train", "folder", "--root", photos, "--run-dir", "ranks", *flags])
    assert out.count("run folder: ranks") == 1
    same_run(run[0], tmp_path / "ranks")


@pytest.mark.slow
@pytest.mark.subprocess
def test_two_ranks_train_the_network(network_run, photos, flags, tmp_path):
    verb_on_ranks(2, ["train", "folder", "--root", photos, "--run-dir", "ranks", *flags, *NETWORK])
    found, expected = (read(path, "stages.json")["stages"] for path in (tmp_path / "ranks", network_run[0]))
    assert [stage["stage"] for stage in found] == ["closed form", "linear head", "network"]
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert one["validation"] == other["validation"]
    assert torch.load(tmp_path / "ranks" / "last.pt", weights_only=True)["step"] == 3
