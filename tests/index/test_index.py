"""An index finds what brute force finds, keeps to its model, and is the same wherever it is kept."""

import shutil

import numpy as np
import pytest
import torch

from circlet.data import DataError, every_image
from circlet.index import Index, Neighbour
from circlet.index.readying import make_ready
from circlet.vectors import Item
from tests.index.tiny import photo, photos, tiny_model


@pytest.fixture
def root(tmp_path):
    return photos(tmp_path / "photos", 5, 4)


@pytest.fixture(params=["memory", "folder"])
def index(request, root, tmp_path):
    location = None if request.param == "memory" else tmp_path / "photos.index"
    with Index.build(tiny_model(), root, location=location, show_progress=False) as made:
        yield made


def brute_force(model, images, query, k):
    """(name, similarity) of the k most similar, by the rows alone."""
    rows, row = (model.embed(each, show_progress=False).double() for each in (images, query))
    similarity = (rows @ row[0]).numpy()
    order = np.argsort(-similarity, kind="stable")[:k]
    return [(images.names[i], similarity[i]) for i in order]


def test_search_finds_what_brute_force_finds(index, root, tmp_path):
    images = every_image(root)
    for seed in range(5):
        colour = np.random.default_rng(seed).integers(0, 256, 3)
        query = photo(tmp_path / "query.png", colour, seed=seed)
        expected = brute_force(index.model, images, query, 7)
        found = index.search(query, k=7)
        assert [each.name for each in found] == [name for name, _ in expected]
        np.testing.assert_allclose([each.similarity for each in found], [s for _, s in expected], atol=1e-5)
        assert all(each.label == each.name.rpartition("/")[0] and not each.same for each in found)
    assert len(index.search(query, k=100)) == 20
    with pytest.raises(ValueError, match="k: found 0"):
        index.search(query, k=0)
    with pytest.raises(ValueError, match="image: found 2, expected one"):
        index.search([query, query])


def test_the_very_file_comes_first_and_does_not_count(index, root, tmp_path):
    own = root / "class 2" / "1.png"
    found = index.search(own, k=3)
    assert found[0] == Neighbour("class 2/1.png", "class 2", found[0].similarity, same=True)
    assert found[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert len(found) == 4
    assert not any(each.same for each in found[1:])
    copies = [index.add(own, names=[f"copy {i}"]).names[0] for i in range(6)]
    found = index.search(own.read_bytes(), k=3)
    assert {each.name for each in found if each.same} == {"class 2/1.png", *copies}
    assert sum(not each.same for each in found) == 3


def test_identify_is_the_class_of_the_most_similar_image(index, root, tmp_path):
    images = every_image(root)
    query = photo(tmp_path / "query.png", (90, 200, 40))
    name, similarity = brute_force(index.model, images, query, 1)[0]
    found = index.identify(query, threshold=similarity - 1e-4)
    assert found.label == found.candidates[0].label == name.rpartition("/")[0]
    assert found.similarity == pytest.approx(similarity, abs=1e-5)
    assert index.identify(query, threshold=min(1.0, similarity + 1e-4)).label is None
    assert index.identify(query, threshold=1.0).sentence.startswith("unknown (similarity ")
    rows = index.model.embed(images, show_progress=False) @ index.model.embed(query, show_progress=False)[0]
    best = {images.class_names[c]: float(rows[torch.from_numpy(images.labels) == c].max()) for c in range(5)}
    assert [each.label for each in found.candidates] == sorted(best, key=lambda label: -best[label])
    assert [each.similarity for each in found.candidates] == pytest.approx(
        sorted(best.values(), reverse=True), abs=1e-5
    )
    with pytest.raises(ValueError, match="threshold: found 2, expected a cosine similarity"):
        index.identify(query, threshold=2)


def test_images_without_a_class_are_nobody(tmp_path):
    root = tmp_path / "flat"
    for i in range(3):
        photo(root / f"{i}.png", (60 * i, 9, 9))
    with Index.build(tiny_model(), root, show_progress=False) as index:
        assert {item.label for item in index.items()} == {""}
        assert index.classes() == {}
        with pytest.raises(ValueError, match="found no image with a class, expected folders for classes, or labels"):
            index.identify(root / "0.png", threshold=0.5)
        index.add(root / "2.png", "bee", ["a bee"], show_progress=False)
        assert index.identify(root / "0.png", threshold=-1.0).label == "bee"


def test_add_again_changes_nothing_and_remove_takes_back(index, tmp_path):
    path = photo(tmp_path / "new.png", (1, 250, 3))
    before = index.items()
    for _ in range(2):
        added = index.add(path, "a/b <i>\x1b[2J")
        assert added.names == (str(path.resolve()),)
        by_content = index.add(path.read_bytes(), "bytes")
        assert by_content.names[0].startswith("added:")
        named = index.add([path, path], ["x", "y"], names=["one", "two"])
        assert named.names == ("added:one", "added:two")
        assert len(index) == len(before) + 4
    assert index.classes()["a/b <i>\x1b[2J"] == 1
    assert index.search(path, k=1)[0].same
    assert index.remove([*named.names, "nobody"]) == 2
    assert index.remove(added.names[0]) == 1
    assert index.remove(list(by_content.names)) == 1
    assert index.items() == before


def test_arguments_of_add(index, root):
    with pytest.raises(ValueError, match="labels: found 3, expected one for each of 2 images"):
        index.add([root / "class 0" / "0.png"] * 2, ["a", "b", "c"])
    with pytest.raises(ValueError, match="names: found 1, expected one for each of 2 images"):
        index.add([root / "class 0" / "0.png"] * 2, "a", ["b"])
    (root / "broken.png").write_bytes(b"?")
    with pytest.raises(DataError, match=r"broken\.png"):
        index.add(root / "broken.png")
    added = index.add([root / "broken.png", root / "class 0" / "0.png"], on_error="skip")
    assert len(added.names) == len(added.skipped) == 1
    assert "broken.png" in added.skipped[0][1]


def test_what_the_service_has_enrolled_is_no_image_of_the_folder_that_its_index_lies_in(root, monkeypatch):
    monkeypatch.chdir(root)
    with Index.build(tiny_model(), ".", location="photos.index", show_progress=False) as index:
        photo(root / "photos.index.enrolled" / "ab" / "ab12.jpg", (9, 9, 9))
        assert index.update(show_progress=False).unchanged == len(index) == 20


def test_nothing_is_made_of_what_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in ("empty", "nowhere"):
        with pytest.raises(DataError, match=path):
            Index.build(tiny_model(), tmp_path / path, location=tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_file_of_the_folder_has_one_name(index, root):
    new = photo(root / "class 9" / "new.png", (9, 9, 9))
    assert index.add(new, "class 9").names == ("class 9/new.png",)
    assert index.update(show_progress=False).unchanged == 21


def test_saved_opened_and_merged_it_is_the_same(index, root, tmp_path):
    model = tiny_model()
    index.save(tmp_path / "saved.index")
    with pytest.raises(ValueError, match="found an index, expected a new place"):
        index.save(tmp_path / "saved.index")
    query = root / "class 1" / "0.png"
    with Index.open(tmp_path / "saved.index", model, read_only=True) as saved:
        assert saved.items() == index.items()
        assert (saved.root, saved.mark) == (index.root, index.mark)
        expected, found = index.search(query), saved.search(query)
        assert [each.name for each in found] == [each.name for each in expected]
    other = photos(tmp_path / "other", 2, 3)
    with Index.build(model, other, show_progress=False) as second:
        assert index.merge(second) == 6
        assert index.merge(second) == 6
        assert len(index) == 26
        name = f"{other.resolve()}/class 1/2.png"
        assert index.path_of(name) == other / "class 1" / "2.png"
        assert index.update(show_progress=False).gone == 0
        np.testing.assert_array_equal(index.store.vectors([name]), second.store.vectors(["class 1/2.png"]))
        second.store.put([Item(index.items()[-1].name, "", "00")], np.eye(1, 8, dtype=np.float32))
        with pytest.raises(ValueError, match="with another content than in"):
            index.merge(second)


def test_vectors_of_another_model_are_refused(tmp_path, root):
    one, two = tiny_model(0), tiny_model(1)
    location = tmp_path / "photos.index"
    Index.build(one, root, location=location, show_progress=False).close()
    message = rf"found vectors of tiny-0 \(digest {one.digest[:8]}\), expected those of tiny-1 \(digest " \
        rf"{two.digest[:8]}\): .*circlet index PHOTOS --out NEW"  # fmt: skip
    for way in (lambda: Index.open(location, two), lambda: Index.build(two, root, location=location)):
        with pytest.raises(ValueError, match=message):
            way()
    with Index.open(location, one) as index, Index.build(two, root, show_progress=False) as other:
        assert len(index) == 20  # and its lock was let go of
        with pytest.raises(ValueError, match="vectors of two models cannot be compared"):
            index.merge(other)
    with pytest.raises(ValueError, match="found vectors of 8 numbers"):
        Index.create(tiny_model(0, dim=4), location)


def test_the_model_is_found_by_what_the_index_says(tmp_path, root, monkeypatch):
    location = tmp_path / "photos.index"
    Index.build(tiny_model(0), root, location=location, show_progress=False).close()
    asked = []

    def loaded(source, **options):
        asked.append(source)
        return tiny_model(1 if "elsewhere" in str(root) else 0)

    monkeypatch.setattr("circlet.index.settings.load_model", loaded)
    with Index.open(location, read_only=True) as index:
        assert asked == []
        assert len(index.search(root / "class 0" / "0.png", k=2)) == 3
        assert asked == ["tiny-0"]
    monkeypatch.setattr("circlet.index.settings.load_model", lambda source, **options: tiny_model(1))
    with Index.open(location, read_only=True) as index, pytest.raises(ValueError, match="found vectors of tiny-0"):
        _ = index.model


def test_nothing_is_fetched_because_an_index_says_so(tmp_path, root):
    location = tmp_path / "photos.index"
    Index.build(tiny_model(0, name="timm/hf-hub:someone/else"), root, location=location, show_progress=False).close()
    with (
        Index.open(location) as index,
        pytest.raises(ValueError, match=r"nothing was fetched\. .*--trust timm/hf-hub"),
    ):
        _ = index.model
    Index.build(tiny_model(0, name="gone", source=tmp_path / "gone"), root, location=tmp_path / "2").close()
    with Index.open(tmp_path / "2") as index, pytest.raises(FileNotFoundError, match=r"vectors are of gone .*--model"):
        _ = index.model


def test_thresholds_of_the_own_classes(tmp_path):
    root = photos(tmp_path / "photos", 8, 6)
    with Index.build(tiny_model(trained=False), root, show_progress=False) as index:
        thresholds = index.thresholds
        assert thresholds.identify[0].classes == 8
        assert index.settle_thresholds() == "thresholds: chosen on 8 classes of the index itself"
        found = index.identify(root / "class 3" / "0.png", fpir=0.1)
        assert found.threshold.rate == 0.1
        assert found.accept_from == found.threshold.similarity
        assert "about 10 % of images of unknown classes" in found.sentence
        assert index.calibrate(fpirs=(0.2,)).identify[0].rate == 0.2
    with Index.build(tiny_model(), root, show_progress=False) as index:
        with pytest.raises(ValueError, match=r"unseen: found False for tiny-0, which was trained"):
            index.calibrate()
        with pytest.raises(ValueError, match="found no threshold to tell known from unknown by, expected one"):
            index.identify(root / "class 3" / "0.png")
        assert "tiny-0 was trained, and its run has none" in index.settle_thresholds()
        assert index.calibrate(unseen=True).identify


def test_too_few_classes_for_a_threshold_are_told(tmp_path):
    root = photos(tmp_path / "photos", 2, 3)
    with Index.build(tiny_model(trained=False), root, show_progress=False) as index:
        assert index.thresholds is None
        assert "found 2 classes, expected at least 3" in index.settle_thresholds()


def test_thresholds_are_due_until_they_are_those_of_the_images(tmp_path):
    root = photos(tmp_path / "photos", 5, 4)
    location = tmp_path / "photos.index"
    Index.build(tiny_model(trained=False), root, location=location, show_progress=False).close()
    with Index.open(location, tiny_model(trained=False)) as index:
        assert not index.thresholds_due
        index.update(show_progress=False)
        assert not index.thresholds_due
        photos(tmp_path / "photos", 6, 4)
        index.update(show_progress=False)  # and is killed
    with Index.open(location, tiny_model(trained=False)) as index:
        assert index.update(show_progress=False).new == 0
        assert index.thresholds_due
        assert index.settle_thresholds() == "thresholds: chosen on 6 classes of the index itself"
        assert not index.thresholds_due
        for number in range(2, 6):
            shutil.rmtree(root / f"class {number}")
        index.update(show_progress=False)
        assert "found 2 classes, expected at least 3" in index.settle_thresholds()
        assert index.thresholds is None


def test_a_truncated_index_and_one_of_another_version(tmp_path, root):
    location = tmp_path / "photos.index"
    with Index.build(tiny_model(), root, location=location, show_progress=False) as index:
        index.store.set_meta({**index.store.meta(), "format": "circlet index 99"})
    with pytest.raises(ValueError, match=r"photos.index: found format 'circlet index 99', expected 'circlet index 1'"):
        Index.open(location)
    with Index.create(tiny_model(), tmp_path / "other.index") as index:
        index.store.set_meta({**index.store.meta(), "root": 7})
    with pytest.raises(ValueError, match=r"other.index: root: found 7, expected text"):
        Index.open(tmp_path / "other.index")
    with Index.create(tiny_model(), tmp_path / "third.index") as index:
        index.store.set_meta({})
        index.store.put([Item("a")], np.eye(1, 8, dtype=np.float32))
    with pytest.raises(ValueError, match="found vectors and not the model that they are of"):
        Index.open(tmp_path / "third.index")


def test_settings_of_others_beside_ours_stay(tmp_path):
    with Index.create(tiny_model(), tmp_path / "i") as index:
        index.store.set_meta({**index.store.meta(), "of serve": [1]})
        index.update(photos(tmp_path / "photos"), show_progress=False)
        assert index.store.meta()["of serve"] == [1]


def test_search_is_made_ready_where_much_is_new(tmp_path, root):
    with Index.build(tiny_model(), root, location=tmp_path / "photos.index", show_progress=False) as index:
        assert make_ready(index.store, 0) == make_ready(index.store, 1) == ""
        assert make_ready(index.store, 2).startswith("exact search of 20 vectors, ")
        assert not list((tmp_path / "photos.index").glob("*.codes"))
    with Index.build(tiny_model(), root, show_progress=False) as index:
        assert make_ready(index.store, 20) == ""
