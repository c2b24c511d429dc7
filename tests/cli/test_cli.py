"""The command line as a user meets it: help, a run from start to end on a folder, resuming, errors."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image, ImageDraw

from circlet.cli import VERBS, main
from circlet.recipes import RECIPES
from circlet.recipes.names import OWN
from tests.forks import Forked

SMALL = ["--steps", "12", "--loop.checkpoint-every", "5", "--loop.log-every", "4", "--data.size", "20", "20",
         "--model.size", "16", "16", "--batch.classes", "4", "--batch.samples", "3", "--loop.precision",
         "fp32"]  # fmt: skip


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Ten classes of six images: a polygon each, in its own colour, shaken."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for c in range(10):
        (root / f"class {c}").mkdir()
        corners = rng.uniform(4, 28, (5, 2))
        colour = tuple(rng.integers(0, 255, 3).tolist())
        for i in range(6):
            image = Image.new("RGB", (32, 32), "white")
            ImageDraw.Draw(image).polygon([tuple(p) for p in corners + rng.normal(0, 1.5, (5, 2))], fill=colour)
            image.save(root / f"class {c}" / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def run(photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", "scratch", "--root", str(photos), "--run-dir", str(path), *SMALL]) == 0
    return path


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_help_lists_the_verbs_and_an_example(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb}" in text for verb in VERBS)
    assert "circlet train" in text
    assert main([]) == 2


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_shows_an_example(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert "examples:" in text
    assert f"circlet {verb} " in text


@pytest.mark.parametrize(
    "recipe", ["glyphs", "omniglot", "folder", "manifest", "scratch", "individuals", "circle-r50-market"]
)
def test_help_of_train_shows_the_recipe_and_its_settings(recipe, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", recipe, "--help"])
    text = capsys.readouterr().out
    assert all(f"  {own.name} " in text for own in OWN)
    assert "circlet recipes" in text
    assert f"(default: {RECIPES[recipe]().loop.steps})" in text


def test_a_run_leaves_everything_behind(run, capsys):
    described = {"config.json", "environment.json", "data.json", "splits.json"}
    found = {"metrics.jsonl", "pairs.jsonl", "last.pt", "best.pt", "result.json", "report.html"}
    assert {path.name for path in run.iterdir()} == described | found
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all({"s_p", "s_n_max", "past_boundary"} <= line.keys() for line in lines if "loss" in line)
    assert len((run / "pairs.jsonl").read_text().splitlines()) == 3
    result = json.loads((run / "result.json").read_text())
    assert {"recall@1", "r_precision", "map@r", "mrr"} <= result["test"].keys()
    assert result["raw_pixels"].keys() == result["test"].keys()
    assert (result["train_classes"], result["test_classes"], result["test_images"]) == (4, 5, 30)  # one for validation
    assert result["checkpoint"] == "best.pt"
    page = (run / "report.html").read_text()
    assert "data:image/" in page
    assert 'src="http' not in page


def test_evaluate_says_the_same_as_train(run, photos, capsys, tmp_path):
    assert main(["evaluate", str(run), "--json", "out.json"]) == 0
    assert "5 classes, 30 queries" in capsys.readouterr().out
    assert (
        json.loads((tmp_path / "out.json").read_text())["test"] == json.loads((run / "result.json").read_text())["test"]
    )
    assert main(["evaluate", str(run), "--root", str(photos), "--checkpoint", str(run / "last.pt")]) == 0
    assert "10 classes, 60 queries" in capsys.readouterr().out


def test_embed_writes_rows_in_order(run, photos, tmp_path, capsys):
    assert main(["embed", str(run), str(photos), "--out", "new/photos"]) == 0
    embeddings = np.load(tmp_path / "new" / "photos.npy", allow_pickle=False)
    assert embeddings.shape == (60, 256)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    rows = pyarrow.parquet.read_table(tmp_path / "new" / "photos.parquet")
    assert rows.column_names == ["path", "class", "label", "embedding"]
    assert rows["path"].to_pylist()[:2] == ["class 0/0.png", "class 0/1.png"]
    assert rows["class"].to_pylist()[59] == "class 9"
    np.testing.assert_array_equal(np.stack(rows["embedding"].to_numpy()), embeddings)
    assert "60 embeddings of length 256" in capsys.readouterr().out
    assert main(["embed", str(run)]) == 0
    assert np.load(tmp_path / "embeddings.npy").shape == (30, 256)


def test_embed_takes_one_image_or_several(run, photos, tmp_path, capsys):
    first, second = (str(photos / "class 3" / f"{i}.png") for i in (1, 0))
    assert main(["embed", str(run), first, second, "--out", "two"]) == 0
    assert main(["embed", str(run), second]) == 0
    two, one = np.load("two.npy"), np.load("embeddings.npy")
    np.testing.assert_allclose(two[1:], one, atol=1e-5)
    rows = pyarrow.parquet.read_table("two.parquet")
    assert rows["path"].to_pylist() == [first, second]
    assert rows["class"].to_pylist() == [str(photos / "class 3")] * 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["{0}/class 3/1.png", "{0}"], "found a folder among 2 paths, expected it alone, or image files"),
        (["missing.jpg"], "missing.jpg: found nothing, expected an image, a folder of images, or a manifest"),
        (["{0}/class 3/1.png", "--images", "{0}"], "--images: found with image files, expected a manifest"),
        (["--images", "{0}"], "--images: found {0} without IMAGES, expected a manifest"),
    ],
)
def test_embed_says_what_it_takes(images, message, run, photos, capsys):
    assert main(["embed", str(run), *(text.format(photos) for text in images)]) == 1
    assert message.format(photos) in capsys.readouterr().err


def test_evaluate_reads_no_images_from_a_folder_alone(run, photos, capsys):
    assert main(["evaluate", str(run), "--images", str(photos)]) == 1
    assert f"--images: found {photos} without --root, expected --root MANIFEST" in capsys.readouterr().err


def test_evaluate_may_skip_broken_images(run, photos, tmp_path, capsys):
    root = shutil.copytree(photos, tmp_path / "damaged")
    (root / "class 3" / "2.png").write_bytes(b"not an image")
    assert main(["evaluate", str(run), "--root", str(root)]) == 1
    assert main(["evaluate", str(run), "--root", str(root), "--on-error", "skip"]) == 0
    out = capsys.readouterr().out
    assert "10 classes, 59 queries" in out
    assert "skipped class 3/2.png: " in out


def test_manifest_with_cameras(run, photos, tmp_path, capsys):
    with open("list.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "camera"])
        for c in range(10):
            rows.writerows([str(photos / f"class {c}" / f"{i}.png"), f"thing {c}", f"cam{i % 2}"] for i in range(6))
    assert main(["embed", str(run), "list.csv"]) == 1
    assert "(--images)" in capsys.readouterr().err
    images = ["--images", str(photos)]
    assert main(["embed", str(run), "list.csv", *images]) == 0
    assert main(["evaluate", str(run), "--root", "list.csv", *images]) == 0
    table = pyarrow.parquet.read_table("embeddings.parquet")
    assert table["camera"].to_pylist()[:3] == [0, 1, 0]
    assert (
        main(["train", "scratch", "--data.source", "manifest", "--root", "list.csv", *images, "--run-dir", "m", *SMALL])
        == 0
    )


@pytest.mark.subprocess
def test_class_level_out_of_memory_images(photos):
    """Loader workers, class weights, shuffled batches: the other half of the options."""
    arguments = [
        "--data.no-in-memory",
        "--data.workers",
        "1",
        "--loss.level",
        "class",
        "--batch.sampler",
        "shuffle",
    ]
    assert main(["train", "scratch", "--root", str(photos), "--run-dir", "c", *SMALL, *arguments]) == 0


@pytest.mark.subprocess
def test_broken_images_stop_the_run_or_are_listed(photos, tmp_path, capsys):
    root = shutil.copytree(photos, tmp_path / "damaged")
    (root / "class 3" / "2.png").write_bytes(b"not an image")
    arguments = ["train", "scratch", "--root", str(root), *SMALL]
    assert main([*arguments, "--run-dir", "a"]) == 1
    assert "class 3/2.png" in capsys.readouterr().err
    for memory in ("in-memory", "no-in-memory"):
        run = f"skip-{memory}"
        assert main([*arguments, "--run-dir", run, "--data.on-error", "skip", f"--data.{memory}"]) == 0
        assert (tmp_path / run / "skipped.txt").read_text().startswith("class 3/2.png\t")
        assert json.loads((tmp_path / run / "result.json").read_text())["skipped_images"] == 1


def test_hostile_class_names_stay_text(tmp_path):
    root = tmp_path / "photos"
    for c in range(6):
        folder = root / f"<script>alert({c})<&amp;"
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("L", (8, 8), 40 * c + i).save(folder / f"{i}.png")
    arguments = ["train", "scratch", "--root", str(root), "--run-dir", "<b>run", *SMALL, "--data.channels", "1",
                 "--model.mean", "0.5", "--model.std", "0.5"]  # fmt: skip
    assert main(arguments) == 0
    page = (tmp_path / "<b>run" / "report.html").read_text()
    assert "<script>alert" not in page
    assert any(f"alert({c})&lt;&amp;amp;" in page for c in range(6))
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (0, "found no image, expected root/class/image"),
        (1, "found 0.5 for 1 classes, expected at least one class on either side"),
        (2, "data: found 1 training class, expected at least 2"),
    ],
)
def test_too_few_classes(classes, message, tmp_path, capsys):
    root = tmp_path / "photos"
    root.mkdir()
    for c in range(classes):
        (root / f"{c}").mkdir()
        for i in range(3):
            Image.new("L", (8, 8), 100 * c + i).save(root / f"{c}" / f"{i}.png")
    arguments = ["train", "scratch", "--root", str(root), *SMALL, "--data.validation-share", "0"]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_existing_run_folder_is_refused(run, photos, capsys):
    assert main(["train", "scratch", "--root", str(photos), "--run-dir", str(run), *SMALL]) == 1
    assert "exists and is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["trian"], 2, "no verb 'trian'; did you mean train?"),
        (["train", "cub"], 1, "recipe: found 'cub', expected one of circle-cub"),
        (["train", "folder"], 1, "data.root: found none"),
        (["train", "folder", "--root", "nowhere"], 1, "nowhere: found nothing, expected a folder"),
        (["train", "--device", "tpu9"], 1, "device: found 'tpu9'"),
        (["train", "--loss.name", "normface", "--loss.margin", "0.1"], 1, "loss.margin: found with normface"),
        (["train", "--resume", "nowhere"], 1, "nowhere: no such folder; expected the run folder"),
        (["evaluate", "nowhere"], 1, "nowhere: no such folder"),
        (["embed", "."], 1, "no config.json in it"),
        (["train", "--batch.samples", "1"], 1, "batch.samples: found 1, expected at least 2"),
        (["train", "--loss.level", "class"], 1, "augment.composed_classes: found with class weights"),
        (["train", "--task", "reid"], 1, "task reid: found images without cameras"),
        (["train", "--loss.memory", "64"], 1, "augment.composed_classes: found with loss.memory"),
    ],
)
def test_errors_are_one_line_and_leave_nothing_behind(arguments, status, message, capsys, tmp_path):
    assert main(arguments) == status
    assert list(tmp_path.rglob("*.json")) == []
    captured = capsys.readouterr().err
    assert message in captured
    assert "Traceback" not in captured


def test_a_checkpoint_of_another_architecture(run, tmp_path, capsys):
    config = json.loads((run / "config.json").read_text())
    config["model"]["embedding_dim"] = 64
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(config))
    (other / "last.pt").write_bytes((run / "last.pt").read_bytes())
    assert main(["evaluate", str(other)]) == 1
    assert "last.pt: holds another architecture than Embedder" in capsys.readouterr().err
    config["model"]["colour"] = "red"
    (other / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(other)]) == 1
    assert "config.model: found unknown settings ['colour']" in capsys.readouterr().err


@pytest.mark.subprocess
def test_killed_and_resumed_ends_like_the_uninterrupted_run(run, photos, tmp_path):
    """SIGKILL at no particular moment, in a process of its own; then --resume."""
    process = Forked(main, ["train", "scratch", "--root", str(photos), "--run-dir", "cut", *SMALL])
    for _ in range(6000):
        if (tmp_path / "cut" / "last.pt").exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    process.kill()
    process.communicate()
    if (tmp_path / "cut" / "result.json").exists():
        os.remove(tmp_path / "cut" / "result.json")
    assert main(["train", "--resume", "cut"]) == 0
    for name in ("last.pt", "best.pt"):
        whole, resumed = (torch.load(path / name, weights_only=True) for path in (run, tmp_path / "cut"))
        assert whole["step"] == resumed["step"]
        assert all(torch.equal(whole["model"][key], resumed["model"][key]) for key in whole["model"])
    assert (tmp_path / "cut" / "result.json").exists()


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "circlet", "train"]


@pytest.mark.subprocess
def test_two_ranks_asked_to_stop_and_resumed_on_one(photos, tmp_path):
    arguments = ["--loss.level", "joint", "--loss.memory", "20", "--steps", "150", "--loop.checkpoint-every", "2"]
    command = [*TORCHRUN, "scratch", "--root", str(photos), "--run-dir", "ranks", *SMALL, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(6000):  # five minutes: a machine may be busy
        if (tmp_path / "ranks" / "last.pt").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert out == "run folder: ranks\n"
    step = torch.load(tmp_path / "ranks" / "last.pt", weights_only=True)["step"]
    assert err.count(f"circlet: stopped at step {step}; go on with: circlet train --resume ranks") == 1, err
    assert 0 < step < 150
    assert main(["train", "--resume", "ranks"]) == 0
    state = torch.load(tmp_path / "ranks" / "last.pt", weights_only=True)
    assert state["step"] == 150
    assert state["objective"]["classes.weight"].shape == (4, 256)
    assert (tmp_path / "ranks" / "report.html").exists()
    steps = [json.loads(line)["step"] for line in (tmp_path / "ranks" / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == [*range(4, 150, 4), 150]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--device", "cuda:0"], "device: found 'cuda:0' under torchrun, expected auto, cpu or cuda"),
        (["train", "--device", "cuda"], "GPUs for 99 ranks here, expected one for each"),
        (["train", "cub"], "recipe: found 'cub'"),
    ],
)
def test_before_there_is_a_process_group_errors_are_said_once(arguments, message, monkeypatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "99", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "99"}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit, match="1"):
        main(arguments)
    assert capsys.readouterr() == ("", "")


@pytest.mark.subprocess
@pytest.mark.parametrize("statement", ["import circlet", "from circlet.cli import main; main(['--help'])"])
def test_nothing_heavy_is_imported_before_it_is_needed(statement):
    heavy = {"torch", "numpy", "matplotlib", "PIL", "tyro", "pyarrow"}
    script = f"import sys\n{statement}\nprint(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


@pytest.mark.subprocess
def test_losses_alone_load_no_image_library():
    script = "import sys, circlet\ncirclet.CircleLoss\nprint(sorted({'matplotlib', 'PIL', 'tyro'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
