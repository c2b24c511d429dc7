"""RecordIO: parts, labels, random access, workers, and files that are cut off or damaged."""

import importlib
import io
import mmap
import multiprocessing
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.data import DataError, decode, face_records
from circlet.data.check import count
from circlet.data.face.face_records import record_set
from circlet.data.face.recordio import RecordFile
from tests.data import miniature
from tests.data.miniature import MAGIC

module = importlib.import_module("circlet.data.face.recordio")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("records") / "faces_emore"
    miniature.write_face_records(root)
    return root


@given(st.lists(st.sampled_from([MAGIC, b"\0\0\0\0", b"abcd", b"x", MAGIC[:2]]), max_size=12), st.integers(0, 3))
def test_any_payload_comes_back(tmp_path_factory, pieces, num_labels):
    image = b"".join(pieces)
    labels = [7.0, 2.5, -1.0][:num_labels]
    payload = miniature.image_payload(labels or 7, image)
    path = tmp_path_factory.mktemp("record") / "a.rec"
    path.write_bytes(miniature.record(b"before" * 9) + miniature.record(payload))
    offset = len(miniature.record(b"before" * 9))
    for labels_only in (False, True):
        found = RecordFile(str(path)).read(1, offset, labels_only=labels_only)
        assert found.labels == tuple(labels or [7.0])
        assert found.image == (b"" if labels_only else image)


@pytest.mark.parametrize("header", [True, False])
def test_training_set(header, tmp_path):
    expected = miniature.write_face_records(tmp_path, header=header)
    splits = face_records(tmp_path, held_out=2, seed=3)
    assert {what: count(splits)[what] for what in expected} == expected
    assert (splits.train.num_classes, splits.query.num_classes, splits.gallery) == (4, 2, None)
    whole = record_set(tmp_path)
    assert whole.labels.tolist() == [person for person in range(6) for _ in range(4)]
    assert whole.names == tuple(str(key + header) for key in range(24))
    for index in range(0, 24, 5):
        content = io.BytesIO(miniature.jpeg(index // 4, index % 4))
        from PIL import Image

        assert np.array_equal(np.asarray(whole.read(index)), np.asarray(Image.open(content)))


def test_nested_folder_and_fraction(records):
    splits = face_records(records.parent, held_out=0.5)
    assert (splits.train.num_classes, splits.query.num_classes) == (3, 3)


def test_opening_reads_no_image(records, monkeypatch):
    read = []
    original = RecordFile.read

    def counting(self, key, offset, **options):
        read.append(key)
        return original(self, key, offset, **options)

    monkeypatch.setattr(RecordFile, "read", counting)
    record_set(records)
    assert read == [0, *range(25, 31)]  # record 0 and those of the persons


@pytest.mark.subprocess
def test_reader_is_small_shares_the_map_and_pickles(records):
    images = record_set(records)
    assert len(pickle.dumps(images.read)) < 2000  # keys and offsets, not the 30 kB of records
    expected = decode(images, 11, size=(8, 8))
    assert isinstance(images.read.file._map, mmap.mmap)
    copy = pickle.loads(pickle.dumps(images))
    assert copy.read.file._map is None
    assert np.array_equal(decode(copy, 11, size=(8, 8)), expected)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(images.read, [11])
        pool.close()
        pool.join()
    assert np.array_equal(np.asarray(found[0].resize((8, 8))), np.asarray(images.read(11).resize((8, 8))))


def test_cut_off(records, tmp_path):
    content = (records / "train.rec").read_bytes()
    (tmp_path / "train.idx").write_bytes((records / "train.idx").read_bytes())
    images = record_set(records)
    last = int(images.read.offsets[-1])
    for end, found in ((last, "end of the file"), (last + 4, "end of the file"), (last + 100, r"\d+ of its bytes")):
        (tmp_path / "train.rec").write_bytes(content[:end])
        reader = module.RecordReader(RecordFile(str(tmp_path / "train.rec")), images.read.keys, images.read.offsets)
        with pytest.raises(DataError, match=rf"train.rec, record 24 \(byte {last}\): found .*{found}"):
            reader(23)
    with pytest.raises(DataError, match=r"record \d+ .*cut off or damaged"):
        record_set(tmp_path)  # the records of the persons are gone
    (tmp_path / "train.rec").write_bytes(b"")
    with pytest.raises(DataError, match=r"train.rec: found no readable file"):
        record_set(tmp_path)
    (tmp_path / "train.rec").unlink()
    with pytest.raises(DataError, match=r"train.rec: found no readable file"):
        record_set(tmp_path)


def part(kind, payload):
    return MAGIC + struct.pack("<I", kind << 29 | len(payload)) + payload


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 64,
        part(0, b"short   "),
        part(2, b"middle without a first part "),
        part(1, b"first part, then a first.." * 2) + part(1, b"again   "),
        part(1, b"first part without an end..."),
        part(5, b"unknown kind" * 4),
        part(0, struct.pack("<IfQQ", 1 << 31, 0, 0, 0)),
        part(0, struct.pack("<IfQQ", 0, float("nan"), 0, 0)),
        part(0, struct.pack("<IfQQff", 2, 0, 0, 0, 1.0, float("inf"))),
    ],
)
def test_damaged_records(content, tmp_path):
    path = tmp_path / "a.rec"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.rec, record 5 \(byte 0\): found .* expected"):
        RecordFile(str(path)).read(5, 0)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("1\t0\n2\tx\n", r"train.idx: found no readable list \(.*Row #2.*'x'"),
        ("1\t0\n2\n", r"train.idx: found no readable list \(.*Row #2"),
        ("1\t0\n1\t8\n", "train.idx: found the key 1 twice"),
    ],
)
def test_bad_index(index, message, tmp_path):
    miniature.write_face_records(tmp_path)
    (tmp_path / "train.idx").write_text(index)
    with pytest.raises(DataError, match=message):
        record_set(tmp_path)


def test_other_property(tmp_path):
    miniature.write_face_records(tmp_path)
    (tmp_path / "property").write_text("7,112,112\n")
    with pytest.raises(DataError, match="property, line 1: found 7 persons, expected 6"):
        record_set(tmp_path)
    (tmp_path / "property").unlink()
    assert record_set(tmp_path).num_classes == 6


@pytest.mark.parametrize("first_key", range((1 << 24) - 30, (1 << 24) + 6))
def test_keys_that_float32_rounds(tmp_path, first_key):
    """Some, all or none of the keys of images and persons lie beyond 2^24."""
    miniature.write_face_records(tmp_path, first_key=first_key)
    whole = record_set(tmp_path)
    assert whole.labels.tolist() == [person for person in range(6) for _ in range(4)]
    assert whole.names == tuple(str(first_key + image) for image in range(24))


def test_persons_that_do_not_tile_are_read_from_the_images(tmp_path):
    """As beyond 2^24 keys, where float32 rounds them."""
    miniature.write_face_records(tmp_path)
    content = (tmp_path / "train.rec").read_bytes()
    old, new = (struct.pack("<2f", 5, end) for end in (9, 10))
    assert content.count(old) == 1
    (tmp_path / "train.rec").write_bytes(content.replace(old, new))
    assert record_set(tmp_path).labels.tolist() == [person for person in range(6) for _ in range(4)]
