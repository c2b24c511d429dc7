"""Folders change after a run has begun: what it was trained on never becomes what it is tested on, without a word."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import circlet
from circlet.augment import AugmentConfig
from circlet.cli import main
from circlet.data import ImageSet, Splits
from circlet.data.folder import image_folder
from circlet.experiments import changed, common_splits, embed_with_run, evaluate_run
from circlet.experiments.remembered import SPLITS, read_remembered, remember, splits_of
from circlet.training import RunFolder

CLASSES = [f"class{number}" for number in range(8)]


def photo(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 20), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def photos(root, classes=CLASSES, images=4):
    for name in classes:
        for image in range(images):
            photo(root / name / f"{name} {image}.png", [*name.encode(), image])  # no picture is in two classes
    return root


def settings(root, **changes):
    chosen = {"source": "folder", "root": root, "data__workers": 0, "data__size": (16, 16), "model__size": (16, 16),
              "steps": 2, "batch__classes": 2, "batch__samples": 2, "augment": AugmentConfig()}  # fmt: skip
    return changed(circlet.recipes.glyphs(), **{**chosen, **changes})


def trained(path, root, **changes):
    return circlet.train(settings(root, **changes), run_dir=path, device="cpu", report=False)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run at the level of classes, and its photos."""
    folder = tmp_path_factory.mktemp("first")
    trained(folder / "run", photos(folder / "photos"), loss__level="class")
    return folder


@pytest.fixture
def run(first, tmp_path):
    """A copy of it: the run, its photos, and its splits."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["root"] = str(tmp_path / "photos")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    return tmp_path / "run", tmp_path / "photos", read_remembered(tmp_path / "run" / SPLITS)


def evaluated(run):
    _, outcome = evaluate_run(run, torch.device("cpu"))
    return outcome


def test_a_run_keeps_its_classes_in_the_order_of_their_labels_and_its_images(run):
    _, root, kept = run
    drawn = image_folder(root, held_out=0.5)
    assert kept.roles["train"].class_names == drawn.train.class_names
    assert kept.roles["train"].names == drawn.train.names
    assert kept.roles["query"].labels == tuple(drawn.query.labels.tolist())
    assert kept.roles.keys() == {"train", "query"}


def test_a_class_folder_added_after_training_is_not_tested_as_unseen(run, capsys):
    path, root, kept = run
    before = json.loads((path / "result.json").read_text())["test"]
    for name in ("aardvark", "zebra"):
        photos(root, [name])
    assert set(image_folder(root, held_out=0.5).query.class_names) & set(kept.roles["train"].class_names)
    outcome = evaluated(path)
    assert outcome.test_set.query.images.class_names == kept.roles["query"].class_names
    assert outcome.test_set.query.images.names == kept.roles["query"].names
    assert outcome.metrics == before
    assert "2 classes are new since the run began, and left out: 'aardvark', 'zebra'" in capsys.readouterr().err


def test_a_run_goes_on_with_its_classes_where_others_were_added(run, capsys):
    path, root, _ = run
    before = (path / "data.json").read_text(), (path / SPLITS).read_text(), (path / "result.json").read_text()
    photos(root, ["aardvark"])
    circlet.resume(path, device="cpu", report=False)
    assert "1 class is new since the run began, and left out: 'aardvark'" in capsys.readouterr().err
    after = (path / "data.json").read_text(), (path / SPLITS).read_text(), (path / "result.json").read_text()
    assert before == after


def test_a_run_does_not_move_to_a_place_with_other_images(run, tmp_path):
    path, _, kept = run
    before = (path / "config.json").read_text()
    gone = kept.roles["train"].class_names[0]
    photos(tmp_path / "other", [name for name in CLASSES if name != gone])
    with pytest.raises(ValueError, match=rf"found other training images.*1 class is missing \('{gone}'\)"):
        circlet.resume(path, root=tmp_path / "other", device="cpu", report=False)
    assert (path / "config.json").read_text() == before


@pytest.mark.parametrize("change", ["renamed", "missing", "image missing", "image added"])
def test_a_run_does_not_go_on_with_other_training_images(run, change):
    path, root, kept = run
    name = kept.roles["train"].class_names[1]
    checkpoint = (path / "last.pt").read_bytes()
    message = {
        "renamed": f"1 class seems to be renamed \\('{name}' to 'Renamed'\\)",
        "missing": f"1 class is missing \\('{name}'\\)",
        "image missing": f"1 image is missing \\('{name}/{name} 2.png'\\)",
        "image added": f"1 image is new \\('{name}/new.png'\\)",
    }[change]
    if change == "renamed":
        (root / name).rename(root / "Renamed")
    elif change == "missing":
        shutil.rmtree(root / name)
    elif change == "image missing":
        (root / name / f"{name} 2.png").unlink()
    else:
        photo(root / name / "new.png", 999)
    with pytest.raises(ValueError, match=rf"splits.json: found other training images.*{message}.*16 images of 4 class"):
        circlet.resume(path, device="cpu", report=False)
    assert (path / "last.pt").read_bytes() == checkpoint
    assert evaluated(path).test_set.query.images.names == kept.roles["query"].names  # the test classes are as they were


def test_a_renamed_test_class_is_an_error_and_no_evaluation_is_written(run, capsys):
    path, root, kept = run
    name = kept.roles["query"].class_names[0]
    (root / name).rename(root / "other")
    assert main(["evaluate", str(path), "--device", "cpu"]) == 1
    assert f"found other test images than the run began with: 1 class seems to be renamed ('{name}' to" in (
        capsys.readouterr().err
    )
    assert not (path / "evaluation.json").exists()
    for work in (circlet.load(path, device="cpu").report, lambda: circlet.resume(path, device="cpu")):
        with pytest.raises(ValueError, match="found other test images"):
            work()


def test_images_added_to_test_classes_are_counted_and_left_out(run, capsys):
    path, root, kept = run
    name = kept.roles["query"].class_names[0]
    photo(root / name / "0 new.png", 1000)
    assert evaluated(path).test_set.query.images.names == kept.roles["query"].names
    assert f"1 image is new in the test classes, and left out: '{name}/0 new.png'" in capsys.readouterr().err


def test_another_set_at_the_same_place_is_an_error(run):
    path, root, _ = run
    shutil.rmtree(root)
    photos(root, [f"other{i}" for i in range(8)])
    with pytest.raises(ValueError, match="found other test images than the run began with: none of them is there"):
        evaluated(path)


def test_images_given_in_python_are_remembered(tmp_path):
    splits = image_folder(photos(tmp_path / "photos"), held_out=0.5, seed=3)
    config = settings(tmp_path / "photos")
    done = circlet.train(config, data=splits, run_dir=tmp_path / "run", device="cpu", report=False)
    kept = read_remembered(tmp_path / "run" / SPLITS)
    assert kept.roles["query"].class_names == splits.query.class_names
    assert splits.query.class_names != image_folder(tmp_path / "photos", held_out=0.5).query.class_names
    assert done.evaluate() == done.metrics  # its images are found where the settings say, in other roles
    other = image_folder(photos(tmp_path / "more", ["a", "b", "c", "d"]), held_out=0.5)
    with pytest.raises(ValueError, match=r"none of them is there: 4 classes are missing .* \(images given in Pyt"):
        done.evaluate(other)


def test_a_run_of_an_earlier_version_says_that_it_could_not_be_checked(run, capsys):
    path, root, kept = run
    (path / SPLITS).unlink()
    assert evaluated(path).test_set.query.images.class_names == kept.roles["query"].class_names
    assert f"no {SPLITS} in it, as of an earlier version" in capsys.readouterr().err
    photos(root, ["aardvark"])
    with pytest.raises(ValueError, match=r"20 images of 5 training .* and 16 .*expected 16 .* and 16 .*result.json"):
        evaluated(path)
    (path / "result.json").unlink()
    photos(root, ["zebra"])
    with pytest.raises(ValueError, match=r"expected 16 images of 4 training classes as in data.json"):
        circlet.resume(path, device="cpu", report=False)


def test_broken_images_that_were_mended_are_no_part_of_a_run_that_goes_on(tmp_path):
    root = photos(tmp_path / "photos")
    name = image_folder(root, held_out=0.5).train.names[0]
    whole = (root / name).read_bytes()
    (root / name).write_bytes(b"no image")
    done = trained(tmp_path / "run", root, data__on_error="skip")
    assert done.evaluate() == done.metrics
    circlet.resume(tmp_path / "run", device="cpu", report=False)
    (root / name).write_bytes(whole)
    with pytest.raises(ValueError, match=r"found 16 images of 4 training classes that can be read now, expected 15"):
        circlet.resume(tmp_path / "run", device="cpu", report=False)


def test_the_classes_that_choose_the_checkpoint_are_remembered(tmp_path):
    done = trained(tmp_path / "run", photos(tmp_path / "photos"), data__validation_share=0.5)
    kept = read_remembered(tmp_path / "run" / SPLITS)
    assert len(kept.validation) == 2
    assert set(kept.validation) < set(kept.roles["train"].class_names)
    assert done.evaluate() == done.metrics
    content = json.loads((tmp_path / "run" / SPLITS).read_text())
    content["validation"] = [name for name in content["train"]["classes"] if name not in kept.validation]
    (tmp_path / "run" / SPLITS).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="other validation classes than the run began with"):
        circlet.resume(tmp_path / "run", device="cpu", report=False)


def test_a_comparison_goes_on_with_the_split_that_it_began_with(tmp_path, capsys):
    root = photos(tmp_path / "photos")
    config = settings(root).data
    before = common_splits(tmp_path / "comparison", config, keep=True)
    photos(root, ["aardvark", "zebra"])
    after = common_splits(tmp_path / "comparison", config)
    assert (after.train.names, after.query.names) == (before.train.names, before.query.names)
    assert "2 classes are new" in capsys.readouterr().err
    shutil.rmtree(root / before.train.class_names[0])
    with pytest.raises(ValueError, match="found other training images"):
        common_splits(tmp_path / "comparison", config, keep=True)


def copied(root, name, to):
    (root / to).parent.mkdir(exist_ok=True)
    shutil.copy(root / name, root / to)
    return to


def test_a_copy_of_a_test_image_under_an_earlier_name_takes_nobodys_place(run, capsys):
    path, root, kept = run
    names = kept.roles["query"].names
    copy = copied(root, names[0], names[0].replace("class", "Copy of class", 2).replace("Copy of ", "", 1))
    assert copy < names[0]
    assert evaluated(path).test_set.query.images.names == names
    assert copy not in capsys.readouterr().err


def test_a_run_goes_on_beside_the_copies_that_it_has_left_out(tmp_path, capsys):
    root = photos(tmp_path / "photos")
    copies = [copied(root, f"{name}/{name} 0.png", f"{name}/{name} copy.png") for name in CLASSES]
    copies += [copied(root, "class1/class1 1.png", f"{name}/stray.png") for name in CLASSES[2:]]
    trained(tmp_path / "run", root, data__on_error="skip")
    assert "7 images are left out, of pictures that are under two labels" in capsys.readouterr().err
    evaluated(tmp_path / "run")
    circlet.resume(tmp_path / "run", device="cpu", report=False)
    assert not any(copy in capsys.readouterr().err for copy in copies)
    for name in CLASSES:  # whichever were trained on
        photo(root / name / "new.png", [*name.encode(), 999])
    with pytest.raises(ValueError, match=r"found other training images.*4 images are new"):
        circlet.resume(tmp_path / "run", device="cpu", report=False)


def test_a_new_class_with_copies_of_known_pictures_is_left_out(run, capsys):
    path, root, kept = run
    copied(root, kept.roles["query"].names[0], "new/one.png")
    copied(root, kept.roles["train"].names[0], "new/two.png")
    assert evaluated(path).test_set.query.images.names == kept.roles["query"].names
    assert "1 class is new since the run began, and left out: 'new'" in capsys.readouterr().err
    circlet.resume(path, device="cpu", report=False)


def test_a_run_of_an_earlier_version_had_its_copies(run):
    path, root, kept = run
    (path / SPLITS).unlink()
    name = kept.roles["query"].names[0]
    copied(root, name, name.replace(".png", " copy.png"))
    assert len(evaluated(path).test_set.query.images) == 16  # of this version, which has told the copies apart
    result = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps({**result, "test_images": 17}))
    assert len(evaluated(path).test_set.query.images) == 17


def test_the_report_of_a_run_on_images_given_in_python(run):
    path, root, _ = run
    splits = image_folder(root, held_out=0.5)
    config = json.loads((path / "config.json").read_text())
    config["data"]["root"] = str(photos(root.parent / "others", ["a", "b", "c", "d"], 2))
    (path / "config.json").write_text(json.dumps(config))
    done = circlet.load(path, device="cpu")
    with pytest.raises(ValueError, match=r"images given in Python, as data=, have to be given again"):
        done.report()
    assert done.report(splits).name == "report.html"
    pixels, _ = embed_with_run(path, torch.device("cpu"), data=splits)
    assert pixels.images.names == splits.query.names


class Numbers:
    """Reader whose image i has the grey value i."""

    def __call__(self, index):
        return Image.new("L", (1, 1), index)


def test_roles_labels_and_everything_else_come_back_whatever_the_disk_gives(tmp_path):
    names, classes = [f"{i}.png" for i in range(12)], [f"c{i % 6}" for i in range(12)]
    every = ImageSet.from_classes(classes, names, Numbers(), range(12), groups=[i % 6 for i in range(12)])
    rows = {"train": [7, 0, 1, 6], "query": [3, 2], "gallery": [8, 9]}
    kept = Splits(*(every.subset(chosen) for chosen in rows.values()))
    remember(tmp_path / SPLITS, kept)
    shuffled = Splits(every.subset([11, 10, 9, 3, 5, 4]), every.subset([8, 7, 6, 2, 1, 0]))
    folder, experiment = RunFolder(tmp_path), circlet.recipes.glyphs()
    with pytest.raises(ValueError, match="found"):
        Splits(every.subset([9]), every.subset([9]))
    found = splits_of(folder, experiment, Splits(shuffled.train, shuffled.query, closed_set=True), to_train=True)
    for role, chosen in rows.items():
        images, before = getattr(found, role), getattr(kept, role)
        assert (images.names, images.class_names) == (before.names, before.class_names)
        assert images.labels.tolist() == before.labels.tolist()
        assert images.cameras.tolist() == before.cameras.tolist() == chosen
        assert images.groups.tolist() == before.groups.tolist()
        assert [images.read(i).getpixel((0, 0)) for i in range(len(chosen))] == chosen


def test_names_that_are_no_unicode_are_remembered(tmp_path):
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    images = [ImageSet.from_classes([label], [label + name], Numbers()) for label in "ab"]
    remember(tmp_path / SPLITS, Splits(*images))
    assert read_remembered(tmp_path / SPLITS).roles["query"].names == ("b\\xff.png",)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"closed_set": False, "validation": []},
        {"closed_set": 1, "validation": [], "train": {}, "query": {}},
        {"closed_set": False, "validation": 5, "train": {}, "query": {}},
        {"closed_set": False, "validation": [], "train": [], "query": {}},
        {"closed_set": False, "validation": [], "train": {"classes": ["a"], "images": []}, "query": {}},
        {"closed_set": False, "validation": [], "train": {"classes": ["a"], "images": 7}, "query": {}},
        {"closed_set": False, "validation": [], "train": {"classes": ["a"], "images": [["b", ["1"]]]}, "query": {}},
        {"closed_set": False, "validation": [], "train": {"classes": ["a"], "images": [["a", [1]]]}, "query": {}},
        {"closed_set": False, "validation": [], "train": {"classes": ["a", "a"], "images": [["a", ["1"]]]}},
    ],
)
def test_a_damaged_list_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / SPLITS).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"splits.json: .*expected"):
        read_remembered(tmp_path / SPLITS)
