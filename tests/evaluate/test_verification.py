import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import verification, video_embeddings

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "verification.npz", allow_pickle=False)


def oracle(distances, is_same, folds, target):
    """The definitions, one fold, one threshold and one pair at a time."""
    n = len(distances)
    sizes = [n // folds + (f < n % folds) for f in range(folds)]
    starts = [sum(sizes[:f]) for f in range(folds)]
    accuracy, tar, far = [], [], []
    for start, size in zip(starts, sizes, strict=True):
        held_out = range(start, start + size)
        training = [i for i in range(n) if i not in held_out]

        def correct(pairs, threshold):
            return sum((distances[i] < threshold) == is_same[i] for i in pairs) / len(pairs)

        def rate(pairs, threshold, kind):
            chosen = [i for i in pairs if is_same[i] == kind]
            return sum(distances[i] < threshold for i in chosen) / len(chosen)

        thresholds = [i * 0.01 for i in range(400)]
        scores = [correct(training, t) for t in thresholds]
        accuracy.append(correct(held_out, thresholds[scores.index(max(scores))]))
        threshold, low, below = 0.0, 0.0, 0.0
        for t in (i * 0.001 for i in range(4000)):
            high = rate(training, t, False)
            if high >= target:
                threshold = below + (t - below) * (target - low) / (high - low)
                break
            low, below = high, t
        tar.append(rate(held_out, threshold, True))
        far.append(rate(held_out, threshold, False))
    return accuracy, tar, far


def random_pairs(seed, num_pairs, folds, dim=3):
    generator = torch.Generator().manual_seed(seed)
    is_same = torch.arange(num_pairs) % 2 == 0
    first = torch.randn(num_pairs, dim, generator=generator, dtype=torch.float64)
    second = torch.randn(num_pairs, dim, generator=generator, dtype=torch.float64)
    second = torch.where(is_same[:, None], first + 0.7 * second, second)
    return torch.stack([first, second], dim=1).flatten(0, 1), is_same


def squared_distances(embeddings):
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    return (unit[::2] - unit[1::2]).square().sum(dim=1).tolist()


@pytest.mark.parametrize("source", ["emb", "emb_plain + emb_flip"])
def test_golden(source):
    embeddings = sum(torch.from_numpy(GOLDEN[name]) for name in source.split(" + "))
    found = verification(embeddings, GOLDEN["issame"])
    assert np.array_equal(found.fold_accuracy, GOLDEN["fold_accuracy"])
    assert np.array_equal(found.fold_threshold, GOLDEN["fold_threshold"])
    assert np.allclose(found.fold_far_threshold[1e-3], GOLDEN["fold_val_threshold"], rtol=0, atol=1e-12)
    assert found.accuracy == pytest.approx(float(GOLDEN["acc_mean"]), abs=1e-12)
    assert found.accuracy_std == pytest.approx(float(GOLDEN["acc_std"]), abs=1e-12)
    assert found.tar_at_far == pytest.approx({1e-3: float(GOLDEN["val_mean"])}, abs=1e-12)
    assert found.tar_std_at_far == pytest.approx({1e-3: float(GOLDEN["val_std"])}, abs=1e-12)
    assert found.far_found == pytest.approx({1e-3: float(GOLDEN["far_mean"])}, abs=1e-12)
    assert np.allclose(found.roc, np.stack([GOLDEN["fpr"], GOLDEN["tpr"]], axis=1), rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.sampled_from([(20, 2), (20, 10), (23, 5), (31, 3)]),
    target=st.sampled_from([1e-3, 0.1, 0.35, 1.0]),
)
def test_matches_oracle(seed, sizes, target):
    num_pairs, folds = sizes
    embeddings, is_same = random_pairs(seed, num_pairs, folds)
    found = verification(embeddings, is_same, folds=folds, fars=[target])
    accuracy, tar, far = oracle(squared_distances(embeddings), is_same.tolist(), folds, target)
    assert found.fold_accuracy.tolist() == pytest.approx(accuracy, abs=1e-12)
    assert found.accuracy == pytest.approx(np.mean(accuracy), abs=1e-12)
    assert found.accuracy_std == pytest.approx(np.std(accuracy), abs=1e-12)
    assert found.tar_at_far[target] == pytest.approx(np.mean(tar), abs=1e-12)
    assert found.tar_std_at_far[target] == pytest.approx(np.std(tar), abs=1e-12)
    assert found.far_found[target] == pytest.approx(np.mean(far), abs=1e-12)


@settings(max_examples=30)
@given(angles=st.lists(st.integers(0, 3), min_size=12, max_size=12), target=st.sampled_from([0.2, 0.5, 1.0]))
def test_ties_match_oracle(angles, target):
    # Right angles: distances 0, 2 and 4 exactly, the last beyond all thresholds.
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    embeddings = torch.stack([points[0].expand(12, 2), points[angles]], dim=1).flatten(0, 1)
    is_same = [True, False, False] * 4
    found = verification(embeddings, is_same, folds=4, fars=[target])
    accuracy, tar, far = oracle(squared_distances(embeddings), is_same, 4, target)
    assert found.fold_accuracy.tolist() == pytest.approx(accuracy, abs=1e-12)
    assert found.tar_at_far[target] == pytest.approx(np.mean(tar), abs=1e-12)
    assert found.far_found[target] == pytest.approx(np.mean(far), abs=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16))
def test_invariances(seed):
    embeddings, is_same = random_pairs(seed, 40, 4)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    scale = 0.1 + torch.rand(80, 1, generator=generator, dtype=torch.float64)
    order = torch.cat([10 * fold + torch.randperm(10, generator=generator) for fold in (2, 0, 3, 1)])
    pairs = embeddings.unflatten(0, (40, 2))
    expected = verification(embeddings, is_same, folds=4, fars=[0.1])
    for changed, same in (
        (scale * embeddings @ rotation, is_same),
        (pairs.flip(1).flatten(0, 1), is_same),
        (pairs[order].flatten(0, 1), is_same[order]),
    ):
        found = verification(changed, same, folds=4, fars=[0.1])
        assert found.accuracy == pytest.approx(expected.accuracy, abs=1e-12)
        assert found.accuracy_std == pytest.approx(expected.accuracy_std, abs=1e-12)
        assert found.tar_at_far == pytest.approx(expected.tar_at_far, abs=1e-12)


def test_perfect_and_hopeless():
    same, different = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    found = verification(torch.tensor((same + different) * 4), [True, False] * 4, folds=4)
    assert (found.accuracy, found.accuracy_std, found.tar_at_far) == (1.0, 0.0, {1e-3: 1.0})
    assert found.fold_threshold.tolist() == [0.01] * 4  # the smallest that accepts distance 0
    found = verification(torch.ones(16, 2), [True, False] * 4, folds=4)
    # Between FAR 0 at threshold 0 and FAR 1 at 0.001 the line reaches 0.001 at 1e-6, above all these distances.
    assert (found.accuracy, found.tar_at_far, found.far_found) == (0.5, {1e-3: 1.0}, {1e-3: 1.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_same": None}, "is_same: found no numbers"),
        ({"embeddings": torch.ones(7, 2)}, "embeddings: found 7 rows, expected an even number"),
        ({"embeddings": torch.full((8, 2), math.inf)}, "embeddings: found 8 rows with nan or inf"),
        ({"is_same": [True, False]}, r"is_same: found torch.bool \(2,\), expected booleans \(4,\)"),
        ({"is_same": [1, 0, 1, 0]}, r"is_same: found torch.int64 \(4,\), expected booleans"),
        ({"is_same": [True, True, False, False]}, "is_same: found no same pair in fold 1"),
        ({"is_same": [True, False, True, True]}, "is_same: found no different pair in fold 1"),
        ({"folds": 1}, "folds: found 1, expected 2 to 4"),
        ({"folds": 5}, "folds: found 5, expected 2 to 4"),
        ({"fars": [0.0]}, "fars: found 0.0"),
        ({"fars": [2.0]}, "fars: found 2.0"),
    ],
)
def test_errors(change, message):
    arguments = {"embeddings": torch.ones(8, 2), "is_same": [True, False, True, False], "folds": 2} | change
    with pytest.raises(ValueError, match=message):
        verification(**arguments)


# Videos


@settings(max_examples=30)
@given(ids=st.lists(st.integers(-3, 3), min_size=1, max_size=20), seed=st.integers(0, 2**16))
def test_video_embeddings_match_oracle(ids, seed):
    frames = torch.randn(len(ids), 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, found_ids = video_embeddings(frames, ids)
    assert found_ids.tolist() == sorted(set(ids))
    for embedding, video in zip(found, found_ids.tolist(), strict=True):
        mean = np.mean([f for f, i in zip(frames.numpy(), ids, strict=True) if i == video], axis=0)
        assert np.allclose(embedding, mean / np.linalg.norm(mean), rtol=0, atol=1e-12)


def test_videos_as_pairs():
    frames = torch.tensor([[1.0, 0.0], [3.0, 0.2], [0.0, 1.0], [0.1, 1.0]] * 2)
    videos, ids = video_embeddings(frames, [10, 10, 20, 20, 30, 30, 40, 40])
    pairs = torch.tensor([[10, 30], [10, 20], [20, 40], [30, 40]])
    found = verification(videos[torch.searchsorted(ids, pairs.flatten())], [True, False] * 2, folds=2)
    assert found.accuracy == 1.0


def test_video_errors():
    with pytest.raises(ValueError, match=r"video_ids: found shape \(2,\), expected \(3,\)"):
        video_embeddings(torch.ones(3, 2), [1, 2])
    with pytest.raises(ValueError, match="frames: found 1 rows with nan"):
        video_embeddings(torch.tensor([[1.0], [math.nan]]), [1, 2])
