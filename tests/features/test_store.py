"""The store against a dict, and what it does with odd input."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.features import FeatureStore, store
from tests.features.cases import DIM, NETWORK, Counted, files, key, never, rows_of

KEYS = [key(i) for i in range(10)]


def test_rows_are_computed_once_and_come_in_order(tmp_path):
    compute = Counted(KEYS)
    first = FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, compute)
    assert compute.asked == list(range(10))
    assert first.dtype == torch.float32
    assert np.array_equal(first, rows_of(KEYS))
    assert len(files(tmp_path)) == 1
    again = FeatureStore(NETWORK, DIM, folder=tmp_path).rows(KEYS[::-1], never)
    assert np.array_equal(again, rows_of(KEYS[::-1]))


def test_the_files_are_plain_npy(tmp_path):
    FeatureStore(NETWORK, folder=tmp_path).add(KEYS, rows_of(KEYS))
    records = np.load(*files(tmp_path), allow_pickle=False)
    assert records.dtype == [("key", "V16"), ("crc", "<u4"), ("row", "<f4", (DIM,))]
    assert records["key"].tobytes() == b"".join(KEYS)
    assert np.array_equal(records["row"], rows_of(KEYS))


def test_find_says_what_is_missing(tmp_path):
    features = FeatureStore(NETWORK, folder=tmp_path)
    rows, missing = features.find(KEYS[:2])
    assert (rows.shape, missing.tolist(), features.dim) == ((2, 0), [0, 1], None)
    features.add(KEYS[1:3], rows_of(KEYS[1:3]))
    rows, missing = features.find(KEYS[:4])
    assert missing.tolist() == [0, 3]
    assert np.array_equal(rows[1:3], rows_of(KEYS[1:3]))
    assert np.isnan(rows[[0, 3]]).all()
    assert features.dim == DIM


def test_networks_do_not_mix(tmp_path):
    FeatureStore("0" * 8, folder=tmp_path).add(KEYS, rows_of(KEYS))
    assert len(FeatureStore("1" * 8, folder=tmp_path).find(KEYS).missing) == 10


def test_duplicates_are_computed_once(tmp_path):
    keys = [KEYS[i] for i in (3, 1, 3, 3, 2, 1)]
    features = FeatureStore(NETWORK, folder=tmp_path)
    features.add(KEYS[2:3], rows_of(KEYS[2:3]))
    compute = Counted(keys)
    assert np.array_equal(features.rows(keys, compute), rows_of(keys))
    assert compute.asked == [0, 1]
    assert np.array_equal(features.rows(keys, never), rows_of(keys))


def test_no_keys(tmp_path):
    features = FeatureStore(NETWORK, folder=tmp_path)
    assert features.rows([], never).shape == (0, 0)
    features.add([], np.empty((0, DIM)))
    assert features.rows([], never).shape == (0, DIM)
    assert features.find([]).rows.shape == (0, DIM)
    assert not os.listdir(tmp_path)


def test_of_two_rows_of_a_key_the_later_counts(tmp_path):
    features = FeatureStore(NETWORK, folder=tmp_path)
    features.add([KEYS[0], KEYS[1], KEYS[0]], [[1.0], [2.0], [3.0]])
    features.add([KEYS[1]], torch.tensor([[4]], dtype=torch.bfloat16))
    assert FeatureStore(NETWORK, folder=tmp_path).find(KEYS[:2]).rows.tolist() == [[3], [4]]


def test_many_small_additions_are_merged(tmp_path):
    features = FeatureStore(NETWORK, folder=tmp_path)
    for i in range(100):
        features.add([key(i)], rows_of([key(i)]))
    assert len(files(tmp_path)) < 40
    names = [key(i) for i in range(100)]
    assert np.array_equal(features.rows(names, never), rows_of(names))
    assert len(files(tmp_path)) == 1


def test_large_files_are_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FILE_BYTES", 4 * (20 + 4 * DIM))
    features = FeatureStore(NETWORK, folder=tmp_path)
    features.rows(KEYS, Counted(KEYS, batch=1))
    before = files(tmp_path)
    assert len(before) == 3
    more = [key(i) for i in range(9, 12)]
    assert np.array_equal(features.rows(KEYS + more, Counted(KEYS + more, batch=1)), rows_of(KEYS + more))
    assert set(before[:2]) < set(files(tmp_path))
    assert len(files(tmp_path)) in (3, 4)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["add", "rows", "find", "reopen"]), st.lists(st.integers(0, 8), max_size=8)), max_size=12
)


@settings(max_examples=60)
@given(ACTIONS)
def test_it_acts_like_a_dict(actions):
    with tempfile.TemporaryDirectory() as name:
        folder, oracle = Path(name), set()
        features = FeatureStore(NETWORK, DIM, folder=folder)
        for action, numbers in actions:
            keys = [key(i) for i in numbers]
            if action == "add":
                features.add(keys, rows_of(keys))
                oracle.update(keys)
            elif action == "rows":
                compute = Counted(keys, batch=2)
                assert np.array_equal(features.rows(keys, compute), rows_of(keys))
                new = [i for i, one in enumerate(keys) if one not in oracle and one not in keys[:i]]
                assert compute.asked == new
                oracle.update(keys)
            elif action == "find":
                rows, missing = features.find(keys)
                assert missing.tolist() == [i for i, one in enumerate(keys) if one not in oracle]
                there = [i for i in range(len(keys)) if i not in missing]
                assert np.array_equal(rows[there], rows_of([keys[i] for i in there]))
            else:
                features = FeatureStore(NETWORK, DIM, folder=folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "../../etc"}, r"network: found '../../etc', expected 8 to 128 hexadecimal digits"),
        ({"network": "ABCDEF0123"}, "network: found 'ABCDEF0123'"),
        ({"network": NETWORK, "dim": 0}, "dim: found 0, expected at least 1"),
        ({"network": NETWORK, "limit_bytes": -1}, "limit_bytes: found -1, expected 0 or more"),
    ],
)
def test_settings_that_cannot_be(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureStore(**arguments, folder=tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, float("nan")]], "rows: found nan or an infinite number in row 0, expected finite ones"),
        (torch.tensor([[1.0, float("inf")]]), "infinite number in row 0"),
        (np.array([[1e300, 1.0]]), "infinite number in row 0"),  # too large for float32
        ([[1.0, 2.0, 3.0]], f"rows: found rows of 3 numbers, expected 2, as others of network {NETWORK}"),
        ([1.0, 2.0], r"rows: found rows of shape \(2,\), expected \(1, 2\)"),
        ([[1.0, 2.0], [1.0, 2.0]], r"rows: found rows of shape \(2, 2\), expected \(1, 2\)"),
        (np.empty((1, 0)), r"rows: found rows of shape \(1, 0\)"),
    ],
)
def test_rows_that_cannot_be(tmp_path, rows, message):
    features = FeatureStore(NETWORK, folder=tmp_path)
    features.add(KEYS[:1], [[1.0, 2.0]])
    with pytest.raises(ValueError, match=message):
        features.add(KEYS[1:2], rows)
    assert features.find(KEYS[:2]).missing.tolist() == [1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([KEYS[0], b"short"], "keys: found 5 bytes at index 1, expected 16 bytes each"),
        (["x" * 16], "keys: found str at index 0, expected 16 bytes each"),
    ],
)
def test_keys_that_cannot_be(tmp_path, keys, message):
    features = FeatureStore(NETWORK, folder=tmp_path)
    for call in (features.find, lambda k: features.rows(k, never), lambda k: features.add(k, rows_of(KEYS[: len(k)]))):
        with pytest.raises(ValueError, match=message):
            call(keys)


@pytest.mark.parametrize(
    ("given_back", "message"),
    [
        ([([0], rows_of(KEYS[:1]))], "compute: found no row for index 1, expected one for each of 2 indices"),
        ([([0, 2], rows_of(KEYS[:2]))], "compute: found a row for index 2, which was not asked for, or twice"),
        ([([-1], rows_of(KEYS[:1]))], "compute: found a row for index -1"),
        ([([0], rows_of(KEYS[:1])), ([0], rows_of(KEYS[:1]))], "compute: found a row for index 0"),
        ([([0, 0], rows_of(KEYS[:2]))], "compute: found an index twice in a batch"),
        ([([0.0], rows_of(KEYS[:1]))], "compute: found indices float64"),
        ([([0, 1], rows_of(KEYS[:1]))], r"compute: found rows of shape \(1, 5\), expected \(2, 5\)"),
        ([([0, 1], np.full((2, DIM), np.nan))], "compute: found nan"),
        ([([0, 1], np.ones((2, 3)))], "compute: found rows of 3 numbers, expected 5"),
    ],
)
def test_a_computation_that_does_not_do_as_it_is_asked(tmp_path, given_back, message):
    with pytest.raises(ValueError, match=message):
        FeatureStore(NETWORK, DIM, folder=tmp_path).rows(KEYS[:2], lambda missing: given_back)
