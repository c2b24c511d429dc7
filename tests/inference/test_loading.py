"""From run folders and names to models; and the run in Python, whose model it is."""

import json
import shutil

import pytest
import torch

import circlet
from circlet.cli import main
from circlet.data import every_image
from circlet.experiments import embed_with_run
from circlet.inference import frozen_model, load_model
from tests.cli.test_cli import SMALL
from tests.index.tiny import photos

cpu = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos"), 10, 4)


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", "scratch", "--root", str(root), "--run-dir", str(path), "--no-report", *SMALL]) == 0
    return path


def test_the_model_of_a_run_embeds_as_the_run_does(run, root):
    model = load_model(run, device="cpu")
    images = every_image(root)
    _, expected = embed_with_run(run, cpu, images=images)
    torch.testing.assert_close(model.embed(images, show_progress=False), expected, atol=1e-5, rtol=1e-4)
    assert (model.name, model.source, model.trained) == (str(run), run, True)


def test_load_gives_a_run_or_a_model(run, root):
    found = circlet.load(run, device="cpu")
    assert isinstance(found, circlet.Run)
    assert isinstance(found.model, circlet.Model)
    path = root / "class 0" / "0.png"
    torch.testing.assert_close(found.embed(path, show_progress=False), found.model.embed(path, show_progress=False))
    batch = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    torch.testing.assert_close(found.model(batch), found.model.network(batch))
    assert found.model.thresholds == load_model(run).thresholds


def test_what_cannot_be_loaded_is_told(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: found no such folder or file, expected a run folder, .* "
                                                "efficientnet_lite0"):  # fmt: skip
        load_model("nowhere")
    with pytest.raises(FileNotFoundError, match=r"no config.json in it"):
        load_model(tmp_path)
    (tmp_path / "weights.pt").touch()
    with pytest.raises(ValueError, match=r"weights.pt: found a file .pt, expected a run folder"):
        load_model(tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="model: found small, which has no published weights"):
        load_model("small")
    copied = shutil.copytree(run, tmp_path / "copied")
    for name in ("best.pt", "last.pt"):
        (copied / name).unlink(missing_ok=True)
    with pytest.raises(OSError, match=r"last\.pt"):
        load_model(copied)
    (copied / "thresholds.json").write_text(json.dumps({"identify": 7}))
    shutil.copy(run / "last.pt", copied / "last.pt")
    with pytest.raises(ValueError, match=r"thresholds.json"):
        load_model(copied)


def test_settings_that_are_not_trusted_are_refused(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "copied")
    config = json.loads((copied / "config.json").read_text())
    config["model"]["backbone"] = "theirs:Net"
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="--trust theirs:Net"):
        load_model(copied)


def test_a_pretrained_network_as_it_is(tmp_path, monkeypatch, root):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    model = frozen_model(device="cpu")
    assert (model.name, model.dim, model.source, model.trained) == ("efficientnet_lite0", 1280, None, False)
    assert (model.view.size, model.decoding.size, model.decoding.fit) == ((224, 224), (256, 256), "crop")
    path = root / "class 0" / "0.png"
    rows = model.embed([path, path.read_bytes()], show_progress=False)
    torch.testing.assert_close(rows[0], rows[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rows[0], model.embed(path, show_progress=False)[0], atol=1e-5, rtol=1e-4)
    assert model.digest == "05e19c195b6fcd6860e70f97169bdaf2"  # indexes of today must be opened tomorrow
