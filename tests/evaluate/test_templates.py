import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import template_embeddings, template_verification
from circlet.evaluate.roc import tar_at_far

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "ijbc.npz", allow_pickle=False)
SETTINGS = ("N1D1F1", "N0D1F1", "N1D0F1", "N0D0F1", "N1D1F0", "N0D0F0")


def golden(setting):
    """Features and detector scores as the reference has them before it averages: F flip, N norm kept, D detector."""
    features = torch.from_numpy(GOLDEN["img_feats"])
    features = features[:, :48] + features[:, 48:] if "F1" in setting else features[:, :48]
    if "N0" in setting:
        features = torch.nn.functional.normalize(features)
    return features, GOLDEN["det_score"] if "D1" in setting else None


def oracle_tar(scores, is_same, target, far_mode):
    """Count for every threshold; leave out the points that lie inside a straight run, where the reference does."""
    genuine = [s for s, same in zip(scores, is_same, strict=True) if same]
    impostor = [s for s, same in zip(scores, is_same, strict=True) if not same]
    counts = []
    for threshold in sorted(set(scores), reverse=True):
        counts.append((sum(s >= threshold for s in impostor), sum(s >= threshold for s in genuine)))
    if far_mode == "nearest":
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(counts)]
        inside = {i + 1 for i in range(len(steps) - 1) if steps[i] == steps[i + 1]}
        counts = [c for i, c in enumerate(counts) if i not in inside]
    points = [(f / len(impostor), t / len(genuine)) for f, t in [(0, 0), *counts]]
    if far_mode == "at_most":
        return max(t for f, t in points if f <= target)
    return max((-abs(f - target), f, t) for f, t in points)[2]


# Reference numbers


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden(setting, dtype):
    features, detector_scores = golden(setting)
    pairs = np.stack([GOLDEN["p1"], GOLDEN["p2"]], axis=1)
    arguments = features.to(dtype), GOLDEN["tid"], GOLDEN["mid"], pairs, GOLDEN["label"] == 1
    found = template_verification(*arguments, detector_scores=detector_scores, fars=GOLDEN["fars"].tolist())
    assert np.abs(found.scores.numpy() - GOLDEN[f"{setting}_score"]).max() < 1e-6
    tar = np.array(list(found.tar_at_far.values()))
    assert np.allclose(tar, GOLDEN[f"{setting}_tar"], rtol=0, atol=1e-12)
    assert np.array_equal(np.round(100 * tar, 2), GOLDEN[f"{setting}_tar_percent_printed"])


@pytest.mark.parametrize("setting", ["N1D1F1", "N0D1F1", "N0D0F0"])
def test_golden_template_embeddings(setting):
    features, detector_scores = golden(setting)
    found, ids = template_embeddings(features, GOLDEN["tid"], GOLDEN["mid"], detector_scores=detector_scores)
    assert np.array_equal(ids, GOLDEN["unique_templates"])
    assert np.abs(found.numpy() - GOLDEN[f"{setting}_template_feats"]).max() < 1e-6


def test_golden_scores_to_tar():
    for setting in SETTINGS:
        scores, same = torch.from_numpy(GOLDEN[f"{setting}_score"]), torch.from_numpy(GOLDEN["label"] == 1)
        found = tar_at_far(scores, same, GOLDEN["fars"].tolist(), "nearest")
        assert np.allclose(list(found.values()), GOLDEN[f"{setting}_tar"], rtol=0, atol=1e-12)


# Against the oracles


@settings(max_examples=150)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=0, max_size=40),
    target=st.sampled_from([1e-3, 0.1, 0.25, 0.3, 0.5, 1.0]),
    far_mode=st.sampled_from(["nearest", "at_most"]),
)
def test_tar_at_far_matches_oracle(pairs, target, far_mode):
    scores, is_same = zip(*pairs, (5, True), (6, False), strict=True)
    found = tar_at_far(torch.tensor(scores) / 8, torch.tensor(is_same), [target], far_mode)
    assert found[target] == pytest.approx(oracle_tar(scores, is_same, target, far_mode), abs=1e-12)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), num_images=st.integers(1, 30), scored=st.booleans())
def test_template_embeddings_match_oracle(seed, num_images, scored):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_images, 5, generator=generator, dtype=torch.float64)
    templates = torch.randint(-2, 3, (num_images,), generator=generator).tolist()
    media = torch.randint(-2, 2, (num_images,), generator=generator).tolist()
    weights = torch.rand(num_images, generator=generator, dtype=torch.float64) if scored else torch.ones(num_images)
    found, ids = template_embeddings(features, templates, media, detector_scores=weights if scored else None)
    assert ids.tolist() == sorted(set(templates))
    for embedding, template in zip(found, ids.tolist(), strict=True):
        own = [i for i in range(num_images) if templates[i] == template]
        total = np.zeros(5)
        for medium in {media[i] for i in own}:
            total += np.mean([features[i].numpy() * weights[i].item() for i in own if media[i] == medium], axis=0)
        assert np.allclose(embedding, total / np.linalg.norm(total), rtol=0, atol=1e-12)


def random_set(seed, dim=6):
    generator = torch.Generator().manual_seed(seed)
    templates = torch.randint(0, 12, (60,), generator=generator)
    templates[:12] = torch.arange(12)
    centres = torch.randn(4, dim, generator=generator, dtype=torch.float64)
    features = centres[templates % 4] + torch.randn(60, dim, generator=generator, dtype=torch.float64)
    pairs = torch.combinations(torch.arange(12))
    return (
        features,
        templates,
        torch.randint(0, 9, (60,), generator=generator),
        pairs,
        pairs[:, 0] % 4 == pairs[:, 1] % 4,
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), far_mode=st.sampled_from(["nearest", "at_most"]))
def test_invariances(seed, far_mode):
    features, templates, media, pairs, same = random_set(seed)
    options = {"fars": [0.01, 0.1, 0.3], "far_mode": far_mode}
    expected = template_verification(features, templates, media, pairs, same, **options)
    generator = torch.Generator().manual_seed(seed)
    order, pair_order = torch.randperm(60, generator=generator), torch.randperm(len(pairs), generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    names = torch.randperm(1000, generator=generator)[:12] - 500
    for found in (
        template_verification(features[order], templates[order], media[order], pairs, same, **options),
        template_verification(features, templates, media, pairs[pair_order].flip(1), same[pair_order], **options),
        template_verification(3 * features @ rotation, names[templates], 7 - media, names[pairs], same, **options),
    ):
        assert found.tar_at_far == pytest.approx(expected.tar_at_far, abs=1e-12)
        assert torch.allclose(found.scores.sort().values, expected.scores.sort().values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_pairs", [2, 300, 20_000])
def test_scores_of_many_templates(num_pairs):
    # Several matrix products, with gaps among the ids and, for few pairs, products that nobody wants.
    generator = torch.Generator().manual_seed(num_pairs)
    ids = torch.randperm(5000, generator=generator)[:700]
    features = torch.randn(700, 4, generator=generator, dtype=torch.float64)
    pairs = ids[torch.randint(700, (num_pairs, 2), generator=generator)]
    found = template_verification(features, ids, ids, pairs, torch.arange(num_pairs) % 2 == 0)
    rows = dict(zip(ids.tolist(), torch.nn.functional.normalize(features), strict=True))
    expected = torch.stack([rows[a] @ rows[b] for a, b in pairs.tolist()])
    assert torch.allclose(found.scores, expected, rtol=0, atol=1e-12)


def test_at_most_never_exceeds_the_target():
    scores, same = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True, False, True, False])
    assert tar_at_far(scores, same, [0.4], "nearest") == {0.4: 1.0}
    assert tar_at_far(scores, same, [0.4], "at_most") == {0.4: 0.5}


def test_all_scores_equal():
    features = torch.ones(4, 2)
    arguments = features, [1, 2, 3, 4], [0, 0, 0, 0], [[1, 2], [3, 4]], [True, False]
    assert template_verification(*arguments, fars=[0.1]).tar_at_far == {0.1: 0.0}
    assert template_verification(*arguments, fars=[0.9]).tar_at_far == {0.9: 1.0}
    assert template_verification(*arguments, fars=[0.9], far_mode="at_most").tar_at_far == {0.9: 0.0}


def test_autocast_changes_nothing():
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    arguments = features, [1, 1, 2, 2, 3, 3], [1] * 6, [[1, 2], [2, 3]], [True, False]
    expected = template_verification(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        found = template_verification(*arguments)
    assert torch.equal(found.scores, expected.scores)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": [[1, 2], [1]]}, "pairs: found no numbers"),
        ({"detector_scores": ["a"]}, "detector_scores: found no numbers"),
        ({"features": torch.tensor([[1.0], [1.0], [math.nan]])}, "features: found 1 rows with nan"),
        ({"template_ids": [1, 2]}, r"template_ids: found shape \(2,\), expected \(3,\)"),
        ({"media_ids": [1.0, 2.0, 3.0]}, "media_ids: found dtype torch.float32"),
        ({"pairs": [1, 2]}, r"pairs: found shape \(2,\), expected \(num_pairs, 2\)"),
        ({"pairs": [[1.0, 2.0], [2.0, 3.0]]}, "pairs: found dtype torch.float32"),
        ({"pairs": [[1, 2], [2, 4]]}, "pairs: found template 4"),
        ({"is_same": [True]}, r"is_same: found torch.bool \(1,\), expected booleans \(2,\)"),
        ({"is_same": [True, True]}, "is_same: found 2 of 2 pairs the same"),
        ({"is_same": [False, False]}, "is_same: found 0 of 2 pairs the same"),
        ({"detector_scores": [1.0, 1.0]}, r"detector_scores: found shape \(2,\), expected finite \(3,\)"),
        ({"detector_scores": [1.0, 1.0, math.nan]}, "detector_scores: found"),
        ({"fars": [0]}, "fars: found 0"),
        ({"far_mode": "exact"}, "far_mode: found 'exact'"),
    ],
)
def test_errors(change, message):
    arguments = {
        "features": torch.ones(3, 1),
        "template_ids": [1, 2, 3],
        "media_ids": [1, 1, 1],
        "pairs": [[1, 2], [2, 3]],
        "is_same": [True, False],
    }
    with pytest.raises(ValueError, match=message):
        template_verification(**(arguments | change))
