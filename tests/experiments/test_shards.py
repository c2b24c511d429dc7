"""A run on shards: trained, tested, opened again; and what it keeps of images that nobody lists."""

import json

import pytest

import circlet
from circlet.data import DataError
from circlet.experiments import DataConfig, build_splits
from circlet.experiments.ranks import _data
from circlet.experiments.regrouped import in_roles
from circlet.experiments.remembered import read_remembered, remember
from tests.data.shard_files import mixed, write_shards, write_tar

SMALL = {
    "data__size": (12, 12), "data__channels": 1, "data__interpolation": "bicubic", "data__workers": 0,
    "model__backbone": "small", "model__pretrained": False, "model__size": (12, 12), "model__crop_share": 1.0,
    "model__pooling": "flatten", "model__head": "linear+bn", "model__embedding_dim": 8, "model__mean": (0.5,),
    "model__std": (0.5,), "augment__hue": 0.0, "augment__saturation": 0.0, "augment__blur": 0.0, "batch__classes": 4,
    "batch__samples": 2, "batch__buffer": 20, "data__validation_share": 2, "data__test_share": 4,
}  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return write_shards(tmp_path / "data", mixed(16, 6, 4))


def test_trained_tested_and_opened_again(root, tmp_path):
    experiment = circlet.recipes.shards(root=root, steps=2, **SMALL)
    run = circlet.train(experiment, run_dir=tmp_path / "run", device="cpu", report=False)
    assert run.metrics["recall@1"] >= 0
    counts = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [counts[name] for name in ("train_classes", "train_images", "test_classes", "test_images")] == [
        10,
        60,
        4,
        24,
    ]
    again = circlet.load(tmp_path / "run").evaluate()
    assert again["recall@1"] == pytest.approx(run.metrics["recall@1"])
    longer = circlet.resume(tmp_path / "run", steps=3, device="cpu", report=False)
    assert [line["step"] for line in longer.log][-1] == 3
    write_tar(root.parent / "train-000003.tar", [0, 1, 2] * 8)
    with pytest.raises(ValueError, match=r"found other (training|test) images than the run began with"):
        circlet.resume(tmp_path / "run", steps=4, device="cpu", report=False)


def test_what_is_kept_of_a_stream(root, tmp_path):
    config = DataConfig(source="shards", root=root.parent, test_share=4)
    splits, path = build_splits(config), tmp_path / "splits.json"
    remember(path, splits, ["1"])
    kept = read_remembered(path)
    assert len(kept.roles["train"].names) == 12
    assert kept.roles["train"].names[0].startswith("6 images of the shards ")
    assert len(kept.roles["query"].names) == 24
    found = build_splits(config)
    assert in_roles(path, kept.roles, found, closed_set=False, to_train=True) is found
    write_tar(root.parent / "train-000009.tar", [splits.train.class_names[0]] * 2, first=900)
    with pytest.raises(DataError, match="found other training images than the run began with"):
        in_roles(path, kept.roles, build_splits(config), closed_set=False, to_train=True)


def test_ranks_compare_every_shard(root):
    told = _data(build_splits(DataConfig(source="shards", root=root)).train)
    assert told["training images"] == 48
    assert [name for name in told if name.startswith("shard ")] == [f"shard train-00000{i}.tar" for i in range(4)]
    assert told["shard train-000000.tar"] != told["shard train-000001.tar"]


def test_settings_that_do_not_fit(root):
    with pytest.raises(ValueError, match=r"transfer\.stages: found with shards, expected none"):
        circlet.recipes.shards(root=root, transfer__stages=("closed_form",))
    with pytest.raises(ValueError, match=r"data\.test_shards: found with the source folder, expected shards"):
        build_splits(DataConfig(source="folder", root=root.parent, test_shards=root))
    with pytest.raises(
        ValueError, match=r"data\.closed_set: found with the source shards, expected manifest or folder"
    ):
        build_splits(DataConfig(source="shards", root=root, closed_set=True))
    with pytest.raises(ValueError, match=r"batch\.buffer: found 0, expected at least 1"):
        circlet.recipes.shards(root=root, batch__buffer=0)
