"""`circlet train vectors` from start to end, and everything that is done with a run, on clusters that it can learn."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import circlet
from circlet.data import DataError
from circlet.data.vector_reader import vector_set, vectors_of
from circlet.data.vector_sets import vectors
from circlet.evaluate import retrieval
from circlet.experiments import resolved
from circlet.recipes import find_recipe
from circlet.similarity import unit_rows
from tests.experiments.test_staged import circlet_says

QUICK = ["--transfer.head.steps", 20, "--loop.precision", "fp32"]


def clusters(num_classes=24, each=6, *, seed=0, dim=16, scale=1.0):
    """Classes that differ in four directions, and much noise in the others, which cosines of the vectors drown in."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_classes * each) // each
    rows = rng.normal(0, 1.0, (len(labels), dim))
    rows[:, :4] = rng.normal(0, 1, (num_classes, 4))[labels] + rng.normal(0, 0.15, (len(labels), 4))
    return (scale * rows).astype(np.float32), [f"class {label:02}" for label in labels]


def written(path, rows, labels, **columns):
    names = [f"item {i}" for i in range(len(rows))]
    pq.write_table(pa.table({"id": names, "label": labels, "embedding": list(rows), **columns}), path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return written(tmp_path_factory.mktemp("vectors") / "features.parquet", *clusters())


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "first"
    said = circlet_says("train", "vectors", "--root", file, "--run-dir", path, *QUICK)
    assert said.status == 0, said.err
    return path, said


def test_a_run_beats_the_given_vectors_which_are_what_retrieval_says(file, run):
    path, said = run
    result = json.loads((path / "result.json").read_text())
    splits = vectors(file)
    rows, labels = torch.from_numpy(vectors_of(splits.query.read)), torch.from_numpy(splits.query.labels)
    expected = retrieval(rows, labels)
    assert result["frozen"]["map@r"] == pytest.approx(expected.map_at_r, abs=1e-6)
    assert result["frozen"]["recall@1"] == expected.recall_at_k[1]
    assert result["test"]["map@r"] > result["frozen"]["map@r"] + 0.1
    assert "given vectors" in said.out
    assert "raw pixels" not in said.out
    assert "72 vectors of 12 classes to train on, 72 to test; 16 numbers each" in said.out
    assert "Better than the given vectors on validation classes: closed form" in said.out


def test_its_embeddings_are_the_head_on_the_vectors_whatever_their_length(file, run):
    model = circlet.load(run[0]).model
    rows, _ = clusters()
    layer = model.network.head[0]
    expected = unit_rows(torch.nn.functional.linear(4 * unit_rows(torch.from_numpy(rows)), layer.weight, layer.bias))
    for given in (rows, 1000 * rows, torch.from_numpy(rows), rows.tolist(), file):
        torch.testing.assert_close(model.embed(given), expected.detach(), atol=2e-5, rtol=0)
    assert model.embed(rows[0]).shape == (1, 16)
    for given, message in (
        (rows[:, :5], "found 5 numbers in each, expected 16"),
        (np.full((1, 16), np.nan), "row 0: found nan"),
        ([[1.0], [1.0, 2.0]], "found no matrix"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"found uint8 \(2, 4, 4, 3\)"),
    ):
        with pytest.raises(DataError, match=message):
            model.embed(given)


def test_evaluate_embed_and_report_take_it_as_any_run(file, run, tmp_path, monkeypatch):
    path, _ = run
    monkeypatch.chdir(tmp_path)
    result = json.loads((path / "result.json").read_text())
    said = circlet_says("evaluate", path, "--json", tmp_path / "again.json")
    assert said.status == 0, said.err
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["input"] == result["input"] == "vectors"
    for row in ("test", "frozen"):
        assert again[row] == pytest.approx(result[row], abs=1e-6)
    other = written(tmp_path / "other.parquet", *clusters(6, seed=5))
    said = circlet_says("evaluate", path, "--root", other)
    assert said.status == 0, said.err
    assert "6 classes, 36 queries" in said.out
    said = circlet_says("embed", path, other, "--out", "new")
    assert said.status == 0, said.err
    table = pq.read_table("new.parquet")
    assert table["path"].to_pylist()[:2] == ["item 0", "item 1"]
    np.testing.assert_allclose(np.load("new.npy"), circlet.load(path).embed(str(other)), atol=2e-5)
    said = circlet_says("report", path)
    assert said.status == 0, said.err
    page = (path / "report.html").read_text()
    assert "given vectors" in page
    assert "item 7" in page


def test_an_interrupted_run_goes_on(file, run, tmp_path):
    path = tmp_path / "again"
    circlet_says("train", "vectors", "--root", file, "--run-dir", path, *QUICK, "--no-report")
    for name in ("result.json", "model.pt", "stages.json"):
        (path / name).unlink()
    said = circlet_says("train", "--resume", path, "--no-report")
    assert said.status == 0, said.err
    assert json.loads((path / "result.json").read_text())["test"] == circlet.load(run[0]).metrics


def test_the_network_beside_the_vectors_is_trained_and_left_out_where_it_is_no_better(file, tmp_path):
    path = tmp_path / "network"
    said = circlet_says("train", "vectors", "--root", file, "--run-dir", path, *QUICK, "--steps", 8, "--no-report")
    assert said.status == 0, said.err
    assert [stage["stage"] for stage in json.loads((path / "stages.json").read_text())["stages"]][-1] == "network"
    said = circlet_says("train", "vectors", "--root", file, "--run-dir", tmp_path / "whole", "--transfer.stages",
                        "--steps", 8, "--loop.precision", "fp32", "--no-report")  # fmt: skip
    assert said.status == 0, said.err
    assert circlet.load(tmp_path / "whole").model.embed(clusters()[0]).shape == (144, 16)


def test_vectors_in_memory_go_from_python(tmp_path):
    rows, labels = clusters(16)
    splits = circlet.data.split_classes(vector_set(rows, labels))
    run = circlet.train(circlet.recipes.vectors(transfer__stages=("closed_form",)), data=splits,
                        run_dir=tmp_path / "run", report=False)  # fmt: skip
    assert run.metrics["map@r"] > 0.3
    assert run.evaluate(data=splits)["map@r"] == pytest.approx(run.metrics["map@r"], abs=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model.backbone", "small"], "model.backbone: found small with data.fit vector"),
        (["--data.fit", "crop"], "model.backbone: found vectors with data.fit crop"),
        (["--test.flip"], "test.flip: found True with vectors, expected False"),
        (["--augment.flip"], "augment: found AugmentConfig"),
        (["--task", "reid"], "task: found reid with vectors, expected retrieval"),
        (["--transfer.looks", "2"], "transfer.looks: found 2 with vectors"),
        (["--data.on-error", "skip", "--model.embedding-dim", "99"], "embedding_dim: found 99, expected at most 16"),
        (["--data.source", "folder"], "expected"),
    ],
)
def test_settings_that_vectors_have_none_of_are_refused(file, tmp_path, flags, message):
    said = circlet_says("train", "vectors", "--root", file, "--run-dir", tmp_path / "run", *flags)
    assert said.status == 1
    assert message in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "run").exists()


def test_nothing_is_said_of_a_root_that_is_none():
    with pytest.raises(ValueError, match=r"data.root: found none, expected a file of vectors"):
        resolved(find_recipe("vectors")())


def test_an_index_of_vectors_is_followed_searched_and_not_served(file, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    rows, labels = clusters()
    mine = written(tmp_path / "mine.parquet", rows[:72], labels[:72])
    said = circlet_says("index", mine, "--run", run[0])
    assert said.status == 0, said.err
    assert "new 72, changed 0, gone 0" in said.out
    written(mine, rows[6:78], labels[6:78])
    said = circlet_says("index", mine, "--run", run[0])
    assert "new 0, changed 72" in said.out  # the same ids, of other vectors
    query = written(tmp_path / "query.parquet", rows[8:9], ["unknown"])
    said = circlet_says("search", "mine.index", query, "--k", 3)
    assert said.status == 0, said.err
    assert f"{labels[8]}  item 2  (the same file)" in said.out
    with circlet.Index.open("mine.index") as index:
        assert index.search(rows[8])[0].name == "item 2"
        assert index.search(rows[8])[0].label == labels[8]
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"")
    for command, message in (
        (["search", "mine.index", photo], "found images, expected vectors of 16 numbers"),
        (["serve", "mine.index", "--port", 0], "found an index of vectors, expected one of images"),
        (["export", run[0], "--out", "m.onnx"], "found a model of vectors, expected one of images for ONNX"),
    ):
        said = circlet_says(*command)
        assert (said.status, message in said.err) == (1, True), said.err


def test_a_file_of_the_model_gives_the_same_vectors(run, tmp_path):
    said = circlet_says("export", run[0], "--to", "safetensors", "--out", tmp_path / "m.safetensors")
    assert said.status == 0, said.err
    rows, _ = clusters(3)
    again, first = (circlet.load(path) for path in (tmp_path / "m.safetensors", run[0]))
    torch.testing.assert_close(again.embed(rows), first.embed(rows), atol=0, rtol=0)
