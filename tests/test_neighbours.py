"""The examples beside other libraries, in this process; those whose library is not installed are passed over.

`pip install -e '.[neighbours]'` installs all of them; what is in the extra `test` runs everywhere.
"""

import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module", autouse=True)
def beside_torchvision():
    """Lightning and others import torchvision where it is; that of PyPI does not load beside the CPU-only torch.

    Its compiled operators are missing; declared, none of them is called here (`tests/models/conftest.py`).
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield
    library._destroy()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder; what it printed."""

    def run(name, *arguments, needs=()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the other libraries
            for library in needs:
                pytest.importorskip(library, exc_type=ImportError)
            monkeypatch.chdir(tmp_path)
            monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
            monkeypatch.setattr(sys, "argv", [name, *arguments])
            monkeypatch.syspath_prepend(EXAMPLES)  # a run names what is in it by its module
            with torch.random.fork_rng(devices=[]):
                runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def numbers(pattern, text):
    return [float(number) for number in re.findall(pattern, text)]


def map_at_r(out):
    """MAP@R as the example printed it, in order; not of the stages of a run."""
    lines = [line for line in out.splitlines() if "on validation classes (" not in line]
    return numbers(r"MAP@R (\d\.\d+)", "\n".join(lines))


def test_texts(run, monkeypatch):
    monkeypatch.setattr("circlet.report.embedding_map.MAX_POINTS", 50)  # a thousand take seconds
    out = run("texts.py")
    before, after = numbers(r"(\d\.\d+) (?:as they are|with the head)", out)
    assert after > before + 0.02
    assert any(module in out.split("server: ")[1] for module in ("smtplib", "imaplib", "poplib", "mail"))
    assert Path("runs/vectors-1/report.html").is_file()


def test_sounds(run):
    before, after = numbers(r"(\d\.\d+) (?:as they are|with the head)", run("sounds.py"))
    assert after > before + 0.02


def test_sklearn_pipeline(run):
    columns, embedding = numbers(r"accuracy (\S+)", run("sklearn_pipeline.py"))
    assert embedding > columns - 0.03


def test_csv_round_trip(run):
    out = run("csv_round_trip.py")
    before, after = map_at_r(out)
    assert after > before
    (doubted,), (wrong,) = numbers(r"(\d+) labels doubted", out), numbers(r"(\d+) of them wrong", out)
    assert wrong > 0.5 * doubted


def test_metric_learning(run):
    out = run("metric_learning.py", needs=["pytorch_metric_learning"])
    ours, theirs = numbers(r"(\d+\.\d+)", out.splitlines()[0])
    assert ours == pytest.approx(theirs, rel=1e-3)
    recalls = []
    for line in out.splitlines()[1:]:
        recall, precision, own, again = numbers(r"(\d\.\d{4})", line)
        assert (recall, precision) == pytest.approx((own, again), abs=2e-4)
        recalls.append(recall)
    untrained, *trained = recalls
    assert min(trained) > untrained + 0.3


def test_lightning(run):
    values = map_at_r(run("lightning_module.py", needs=["lightning"]))
    assert len(values) == 6
    assert values[-1] > values[0] + 0.1


@pytest.mark.subprocess
def test_accelerate(run):
    out = run("accelerate_loop.py", needs=["accelerate"])
    before, after = map_at_r(out)
    assert after > before + 0.1
    assert len(numbers(r"epoch \d+: loss (\S+)", out)) == 5


@pytest.mark.subprocess
def test_hugging_face_trainer(run):
    before, after = map_at_r(run("hf_trainer.py", needs=["transformers", "accelerate"]))
    assert after > before + 0.05


@pytest.mark.subprocess
def test_sentence_transformers(run):
    needs = ["sentence_transformers", "datasets", "all_minilm_l6_v2"]
    as_it_is, with_head, trained = map_at_r(run("sentence_transformers_texts.py", needs=needs))
    assert max(with_head, trained) > as_it_is


@pytest.mark.subprocess
def test_hugging_face_datasets(run):
    (found,) = numbers(r"held-out classes (\S+)", run("hf_datasets.py", needs=["datasets"]))
    assert found > 0.2


def test_optuna(run):
    out = run("optuna_recipes.py", needs=["optuna"])
    assert len(map_at_r(out)) == 3
    assert numbers(r"held-out classes (\S+)", out)[0] > 0.1


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("name", "library", "left"),
    [
        ("tensorboard", "tensorboard", "runs/glyphs-1/tensorboard/events*"),
        ("mlflow", "mlflow", "mlflow.db"),
        ("wandb", "wandb", "wandb/offline-run-*/*.wandb"),
    ],
)
def test_trackers(run, name, library, left):
    out = run("trackers.py", name, needs=[library])
    assert numbers(r"(\d+) lines while training", out)[0] >= 4
    assert list(Path().glob(left))


def test_timm(run):
    (found,) = numbers(r"held-out classes (\S+)", run("timm_backbone.py", needs=["timm"]))
    assert found > 0.05


@pytest.mark.parametrize("name", ["albumentations", "torchvision"])
def test_photo_transforms(run, name):
    (found,) = numbers(r"held-out classes (\S+)", run("photo_transforms.py", name, needs=[name]))
    assert found > 0.1
