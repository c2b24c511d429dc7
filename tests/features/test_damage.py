"""Files that are not as they were written, or never were ours: dropped, told of, computed again; nothing is run."""

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.features import FeatureStore, parts
from tests.features.cases import DIM, NETWORK, Counted, files, key, never, rows_of

KEYS = [key(i) for i in range(10)]
RAN = []


class Malicious:
    def __reduce__(self):
        return (RAN.append, (1,))


def npy(array):
    def write(path):
        with open(path, "wb") as file:
            np.save(file, array)

    return write


def pickled(path):
    path.write_bytes(pickle.dumps(Malicious()))


def archive(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(3))


def old_python(path):
    """A header of Python 2, of which numpy warns."""
    path.write_bytes(path.read_bytes().replace(b"'shape': (10,)", b"'shape': (10L,)", 1))


FOREIGN = {
    "pickle": pickled,
    "pickled objects": npy(np.array([Malicious()], dtype=object)),
    "archive": archive,
    "numbers": npy(np.ones((10, DIM), np.float32)),
    "wrong dim": npy(np.zeros(10, parts.record_type(DIM + 1))),
    "other fields": npy(np.zeros(10, [("key", "V16"), ("crc", "<u4"), ("row", "<f4")])),
    "big endian": npy(np.zeros(10, [("key", "V16"), ("crc", ">u4"), ("row", ">f4", (DIM,))])),
    "two dimensions": npy(np.zeros((2, 5), parts.record_type(DIM))),
    "no records": npy(np.zeros(0, parts.record_type(DIM))),
    "old python": old_python,
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a byte too short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a byte too long": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "another dim by a flipped bit": lambda path: path.write_bytes(path.read_bytes().replace(b"(5,)", b"(4,)", 1)),
    "a header alone": lambda path: os.truncate(path, 128),
}


@pytest.fixture
def stored(tmp_path):
    FeatureStore(NETWORK, folder=tmp_path).add(KEYS, rows_of(KEYS))
    return tmp_path


@pytest.mark.parametrize("spoil", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_none_of_ours_is_replaced(stored, capsys, spoil):
    (path,) = files(stored)
    spoil(path)
    compute = Counted(KEYS)
    assert np.array_equal(FeatureStore(NETWORK, DIM, folder=stored).rows(KEYS, compute), rows_of(KEYS))
    assert compute.asked == list(range(10))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"features: {path} is damaged (")
    assert line.endswith("what it held is computed again")
    assert not path.exists()
    assert not RAN
    assert np.array_equal(FeatureStore(NETWORK, folder=stored).rows(KEYS, never), rows_of(KEYS))


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("opened_before", [True, False])
def test_a_flipped_byte_costs_one_row(stored, capsys, opened_before):
    features = FeatureStore(NETWORK, folder=stored)
    if opened_before:
        features.find(KEYS)
    (path,) = files(stored)
    flip(path, -1)
    compute = Counted(KEYS)
    assert np.array_equal(features.rows(KEYS, compute), rows_of(KEYS))
    assert compute.asked == [9]
    assert capsys.readouterr().err == f"features: 1 of 10 rows in {path} are damaged: computed again\n"
    assert not path.exists()
    assert np.array_equal(FeatureStore(NETWORK, folder=stored).rows(KEYS, never), rows_of(KEYS))


def test_rows_that_are_not_taken_are_not_checked(stored):
    flip(*files(stored), -1)
    assert np.array_equal(FeatureStore(NETWORK, folder=stored).rows(KEYS[:9], never), rows_of(KEYS[:9]))


def test_a_damaged_copy_gives_way_to_an_older_one(stored):
    FeatureStore(NETWORK, folder=stored).add(KEYS[:1], rows_of(KEYS[:1]))
    flip(files(stored)[-1], -1)
    assert np.array_equal(FeatureStore(NETWORK, folder=stored).rows(KEYS, never), rows_of(KEYS))


def test_a_file_of_another_network_is_not_taken(stored, capsys):
    """Nor does it say how many numbers a row has, though it is the oldest."""
    features = FeatureStore("ffffffff", folder=stored)
    features.add(KEYS[:2], np.ones((2, DIM + 1)))
    os.replace(*files(stored), files(stored, "ffffffff")[0].with_name(f"{7:020d}-00000000.npy"))
    features = FeatureStore("ffffffff", folder=stored)
    assert features.find(KEYS).missing.tolist() == list(range(2, 10))
    assert features.dim == DIM + 1
    assert "is damaged (its rows are damaged, or of another network): what" in capsys.readouterr().err


def test_a_file_that_cannot_be_opened_now_is_not_removed(stored, capsys, monkeypatch):
    (path,) = files(stored)

    def refuse(*_, **__):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refuse)
        assert np.array_equal(FeatureStore(NETWORK, folder=stored).rows(KEYS[:3], Counted(KEYS)), rows_of(KEYS[:3]))
    expected = f"features: {path} cannot be read ([Errno 24] Too many open files): what it holds is computed again"
    assert expected in capsys.readouterr().err.splitlines()
    assert np.array_equal(FeatureStore(NETWORK, folder=stored).rows(KEYS, never), rows_of(KEYS))


def test_a_damaged_file_that_cannot_be_removed_is_left_alone(stored, monkeypatch):
    (path,) = files(stored)
    path.write_bytes(b"nonsense")

    def refuse(*_, **__):
        raise PermissionError("in use")

    monkeypatch.setattr(Path, "unlink", refuse)
    features = FeatureStore(NETWORK, folder=stored)
    features.rows(KEYS, Counted(KEYS))
    assert np.array_equal(features.rows(KEYS, never), rows_of(KEYS))
    assert path.read_bytes() == b"nonsense"


@settings(max_examples=60)
@given(
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    cut=st.none() | st.integers(0, 10**6),
    dim=st.sampled_from([None, DIM]),
)
def test_whatever_happens_to_a_file_rows_are_right(edits, cut, dim):
    """Any bytes changed, most of them in the header, and any length."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        FeatureStore(NETWORK, folder=folder).add(KEYS, rows_of(KEYS))
        (path,) = files(folder)
        content = bytearray(path.read_bytes())
        for at, byte in edits:
            content[at % (200 if at % 2 else len(content))] = byte
        path.write_bytes(content[: None if cut is None else cut % len(content)])
        for _ in range(2):
            assert np.array_equal(FeatureStore(NETWORK, dim, folder=folder).rows(KEYS, Counted(KEYS)), rows_of(KEYS))
        assert np.array_equal(FeatureStore(NETWORK, folder=folder).rows(KEYS, never), rows_of(KEYS))


def test_links_are_neither_read_nor_followed(stored, tmp_path):
    (path,) = files(stored)
    target = tmp_path / "elsewhere.npy"
    os.replace(path, target)
    path.symlink_to(target)
    features = FeatureStore(NETWORK, folder=stored)
    assert len(features.find(KEYS).missing) == 10
    features.rows(KEYS, Counted(KEYS))
    assert path.is_symlink()
    assert target.exists()
