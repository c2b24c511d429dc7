import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import identification

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "megaface.npz", allow_pickle=False)
RANKS = tuple(GOLDEN["ranks"].tolist())


def oracle(probes, ids, distractors, ranks, fars):
    """The definitions, one pair of photos and one score at a time, on unit rows."""
    crowd = [sorted((float(p @ d) for d in distractors), reverse=True) for p in probes]
    pairs = [
        (p, float(probes[g] @ probes[p]))
        for g in range(len(ids))
        for p in range(len(ids))
        if g != p and ids[g] == ids[p]
    ]
    rank_accuracy = {N: sum(score >= crowd[p][N - 1] for p, score in pairs) / len(pairs) for N in ranks}
    impostors, tar = [s for row in crowd for s in row], {}
    for far in fars:
        thresholds = [t for t in [-math.inf, *impostors] if sum(s > t for s in impostors) / len(impostors) <= far]
        tar[far] = sum(score > min(thresholds) for _, score in pairs) / len(pairs)
    return rank_accuracy, tar, len(pairs)


def same(found, expected):
    for given_, wanted in zip((found.rank_accuracy, found.tar_at_far), expected, strict=False):
        assert given_ == pytest.approx(wanted, abs=1e-12, nan_ok=True)
    assert found.num_pairs == expected[2]


def random_set(seed, num_probes=24, num_distractors=70, dim=5):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 7, (num_probes,), generator=generator)
    centres = torch.randn(7, dim, generator=generator, dtype=torch.float64)
    probes = centres[ids] + torch.randn(num_probes, dim, generator=generator, dtype=torch.float64)
    return probes, ids, torch.randn(num_distractors, dim, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("block_size", [100, 4096])
def test_golden(variant, block_size):
    probes, ids, distractors = (GOLDEN[f"{variant}_{name}"] for name in ("probe_emb", "probe_id", "distractor_emb"))
    found = identification(torch.from_numpy(probes), ids, distractors, ranks=RANKS, block_size=block_size)
    expected = dict(zip(RANKS, GOLDEN[f"{variant}_rank_accuracy"].tolist(), strict=True))
    assert found.rank_accuracy == pytest.approx(expected, abs=1e-12)
    assert found.num_pairs == GOLDEN[f"{variant}_num_pairs"]


@settings(max_examples=40)
@given(
    codes=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), min_size=1, max_size=12),
    crowd=st.lists(st.integers(0, 15), min_size=3, max_size=20),
    block_size=st.integers(1, 24),
)
def test_matches_oracle_with_ties(codes, crowd, block_size):
    def points(values):
        return torch.tensor([[0.5 if code >> bit & 1 else -0.5 for bit in range(4)] for code in values])

    probes, ids = points([code for code, _ in codes]), [i for _, i in codes]
    options = {"ranks": (1, 2, 3), "fars": (1e-6, 0.1, 0.25, 0.5, 1.0)}
    if len(set(ids)) == len(ids):
        with pytest.raises(ValueError, match="probe_ids: found"):
            identification(probes, ids, points(crowd), block_size=block_size, **options)
        return
    found = identification(probes, ids, points(crowd), block_size=block_size, **options)
    same(found, oracle(probes, ids, points(crowd), **options))


@pytest.mark.slow
@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), block_size=st.sampled_from([1, 13, 4096]))
def test_invariances(seed, block_size):
    probes, ids, distractors = random_set(seed)
    options = {"ranks": (1, 3, 70), "fars": (1e-3, 0.29)}
    unit = [x / x.norm(dim=1, keepdim=True) for x in (probes, distractors)]
    expected = oracle(unit[0], ids.tolist(), unit[1], **options)
    generator = torch.Generator().manual_seed(seed)
    order, crowd_order = torch.randperm(24, generator=generator), torch.randperm(70, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    same(identification(probes, ids, distractors, block_size=block_size, **options), expected)
    same(
        identification(probes[order], ids[order], distractors[crowd_order], block_size=block_size, **options), expected
    )
    same(identification(3 * probes @ rotation, 50 - 3 * ids, distractors @ rotation, **options), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_distractors_in_a_read_only_file(tmp_path, dtype):
    probes, ids, distractors = random_set(0)
    distractors.numpy().astype(dtype).tofile(tmp_path / "crowd.bin")
    file = np.memmap(tmp_path / "crowd.bin", dtype=dtype, mode="r", shape=(70, 5))
    options = {"ranks": (1, 5), "fars": (0.1,), "block_size": 16}
    assert identification(probes, ids, file, **options) == identification(
        probes, ids, torch.from_numpy(distractors.numpy().astype(dtype)), **options
    )


def test_no_person_with_two_photos():
    with pytest.raises(ValueError, match=r"probe_ids: found 3 ids of one probe each, expected two probes of one id"):
        identification(torch.eye(3), [1, 2, 3], torch.eye(3), ranks=(1,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distractors": [[1.0, 0.0]]}, "distractors: found list, expected a tensor or an array"),
        ({"probes": torch.ones(2)}, r"probes: found shape \(2,\)"),
        ({"probe_ids": [1]}, r"probe_ids: found shape \(1,\), expected \(2,\)"),
        ({"distractors": torch.ones(4, 3)}, r"distractors: found shape \(4, 3\), expected \(m, 2\)"),
        ({"distractors": torch.ones(0, 2)}, r"distractors: found shape \(0, 2\)"),
        ({"distractors": np.ones((4, 2), dtype=np.int64)}, "distractors: found torch.int64"),
        ({"distractors": np.array([[1.0, 1.0], [1.0, 1.0], [math.nan, 1.0]])}, "distractors: found 1 .* is row 2"),
        ({"ranks": (5,)}, "ranks: found 5, expected integers from 1 to 4"),
        ({"ranks": (0,)}, "ranks: found 0"),
        ({"fars": (0.0,)}, "fars: found 0.0"),
        ({"block_size": 0}, "block_size: found 0"),
    ],
)
def test_errors(change, message):
    arguments = {"probes": torch.ones(2, 2), "probe_ids": [1, 1], "distractors": torch.ones(4, 2), "ranks": (1,)}
    with pytest.raises(ValueError, match=message):
        identification(**({"block_size": 2} | arguments | change))
