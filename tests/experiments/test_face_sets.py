"""Alignment of faces by their landmarks, and the way of the face test sets from disk to numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from circlet.data import ijbc
from circlet.data.decode import decode
from circlet.data.face.alignment import TEMPLATE, AlignedReader, aligned, alignment
from circlet.evaluate import identification, template_verification, verification
from circlet.experiments import FaceSets, open_face_sets
from circlet.experiments.face_sets import face_metrics
from circlet.models import embed
from circlet.recipes import RECIPES
from tests.data import miniature


@given(st.floats(0.3, 4), st.floats(-3.1, 3.1), st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 2**20))
def test_alignment_is_the_least_squares_similarity(scale, angle, right, down, seed):
    noise = np.random.default_rng(seed).normal(0, 2, (5, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (scale * (TEMPLATE + noise) @ turn.T + (right, down)).astype(np.float32)
    # The similarity (x, y) -> (p x - q y + s, q x + p y + t) from landmarks to template, by least squares.
    rows, target = [], []
    for (x, y), (u, v) in zip(landmarks.astype(float), TEMPLATE, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        target += [u, v]
    p, q, s, t = np.linalg.lstsq(np.array(rows), np.array(target), rcond=None)[0]
    forward = np.array([[p, -q, s], [q, p, t], [0, 0, 1]])
    a, b, c, d, e, f = alignment(landmarks)
    np.testing.assert_allclose(np.linalg.inv(forward)[:2], [[a, b, c], [d, e, f]], rtol=1e-6, atol=1e-6)


def test_a_dot_on_each_landmark_comes_to_lie_on_the_template():
    landmarks = (1.7 * TEMPLATE[:, ::-1] * (1, -1) + (10, 210)).astype(np.float32)  # turned by a quarter
    canvas = np.zeros((240, 240, 3), np.uint8)
    for x, y in landmarks.round().astype(int):
        canvas[y - 1 : y + 2, x - 1 : x + 2] = 255
    face = np.asarray(AlignedReader(lambda i: Image.fromarray(canvas), landmarks[None])(0), dtype=float)[..., 0]
    assert face.shape == (112, 112)
    rows, columns = np.indices(face.shape)
    for x, y in TEMPLATE:
        near = face * ((rows - y) ** 2 + (columns - x) ** 2 < 16)
        centre = (near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.5)


def test_landmarks_in_one_place_are_an_error_that_names_the_image(tmp_path):
    miniature.write_ijbc(tmp_path)
    templates = ijbc(tmp_path)
    assert decode(aligned(templates), 3, size=(112, 112)).shape == (3, 112, 112)
    templates.landmarks[3] = 7.0
    with pytest.raises(ValueError, match=r"4\.jpg: found no readable image \(ValueError: landmarks: found all five"):
        decode(aligned(templates), 3, size=(112, 112))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    miniature.write_face_bin(root / "bins" / "lfw.bin")
    miniature.write_face_bin(root / "bins" / "cfp_fp.bin", 30)
    miniature.write_face_bin(root / "bins" / "agedb_30.bin")
    miniature.write_ytf(root / "ytf")
    miniature.write_ijbc(root / "ijbc")
    miniature.write_megaface(root / "megaface")
    miniature.write_lfw(root / "lfw")
    bins = root / "bins"
    return FaceSets(bins, bins / "cfp_fp.bin", bins, root / "ytf", root / "ijbc", root / "megaface"), root / "lfw"


class Thumbnail(torch.nn.Module):
    """Means over a coarse grid: an embedding that differs from view to view."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, (2, 3)).flatten(1) + images[:, :, 0, 0].mean()


def test_face_sets_are_judged_by_their_protocols(places, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    experiment = RECIPES["circle-r34-ms1m"]()
    experiment = replace(experiment, data=replace(experiment.data, workers=0))
    sets = open_face_sets(places[0])
    assert list(sets) == ["lfw", "cfp-fp", "agedb-30", "ytf", "ijb-c", "megaface"]
    found = face_metrics(Thumbnail(), sets, experiment, torch.device("cpu"))
    assert list(found) == [
        "lfw", "lfw std", "lfw@1e-3", "cfp-fp", "cfp-fp std", "cfp-fp@1e-3", "agedb-30", "agedb-30 std",
        "agedb-30@1e-3", "ytf", "ytf std", "ytf@1e-3", "ijb-c@1e-3", "ijb-c@1e-4", "ijb-c@1e-5", "megaface",
        "megaface@1e-6",
    ]  # fmt: skip
    assert RECIPES["circle-r34-ms1m"].figures.keys() <= found.keys()

    def rows(images, *, normalize):
        pixels = [torch.from_numpy(decode(images, i, size=(112, 112)))[None] / 255 for i in range(len(images))]
        return embed(Thumbnail(), pixels, flip=True, normalize=normalize)

    pairs = sets["lfw"]
    result = verification(rows(pairs.images, normalize=True)[pairs.pairs.ravel()], torch.from_numpy(pairs.is_same))
    assert (found["lfw"], found["lfw std"]) == (result.accuracy, result.accuracy_std)
    content = sets["ijb-c"]
    features = rows(aligned(content), normalize=False)
    result = template_verification(
        features, *map(torch.from_numpy, (content.template_ids, content.media_ids, content.pairs, content.is_same)),
        detector_scores=torch.from_numpy(content.detector_scores),
    )  # fmt: skip
    assert found["ijb-c@1e-4"] == result.tar_at_far[1e-4]
    probes, distractors = (
        rows(part, normalize=True) for part in (sets["megaface"].probes, sets["megaface"].distractors)
    )
    result = identification(probes, torch.from_numpy(sets["megaface"].probes.labels), distractors, ranks=(1,))
    assert (found["megaface"], found["megaface@1e-6"]) == (result.rank_accuracy[1], result.tar_at_far[1e-6])
    assert list(tmp_path.iterdir()) == []  # the file of the distractors is gone


def test_far_at_most_is_that_of_the_evaluation_and_named(tmp_path):
    miniature.write_ijbc(tmp_path, persons=18)
    content = ijbc(tmp_path)
    experiment = RECIPES["circle-r34-ms1m"]()
    experiment = replace(experiment, data=replace(experiment.data, workers=0, size=(16, 16)))

    def found(far_mode, is_same):
        judged = replace(experiment, test=replace(experiment.test, far_mode=far_mode))
        sets = {"ijb-c": replace(content, is_same=is_same)}
        return face_metrics(Thumbnail(), sets, judged, torch.device("cpu"))

    pixels = [torch.from_numpy(decode(aligned(content), i, size=(16, 16)))[None] / 255 for i in range(108)]
    scores = template_verification(
        embed(Thumbnail(), pixels, flip=True, normalize=False),
        *map(torch.from_numpy, (content.template_ids, content.media_ids, content.pairs, content.is_same)),
        detector_scores=torch.from_numpy(content.detector_scores),
    ).scores
    is_same = np.zeros(630, bool)
    is_same[scores.argsort(descending=True)[1:30]] = True  # the highest of 601 impostors, FAR 1/601, is above all
    assert found("nearest", is_same) == {"ijb-c@1e-3": 1.0, "ijb-c@1e-4": 0.0, "ijb-c@1e-5": 0.0}
    assert found("at_most", is_same) == {f"ijb-c@1e-{n} (at most)": 0.0 for n in (3, 4, 5)}


def test_lfw_may_be_a_folder_with_its_list(places):
    opened = open_face_sets(FaceSets(lfw=places[1]))
    assert opened["lfw"].num_folds == 10
    assert open_face_sets(FaceSets()) == {}
    with pytest.raises(ValueError, match=r"nowhere"):
        open_face_sets(FaceSets(ytf=Path("nowhere")))
