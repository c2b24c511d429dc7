"""Files of faces that claim more than they have: verification files (.bin) and training records (RecordIO)."""

import os
import pickle
import struct

import numpy as np
import pytest

from circlet.data import DataError, decode, face_bin, face_records
from circlet.data.face.face_records import record_set
from circlet.data.face.plain_pickle import read_plain_pickle
from circlet.data.face.recordio import RecordFile
from tests.data import miniature
from tests.data.miniature import MAGIC
from tests.fuzz.guard import guarded

U1 = b"cnumpy\ndtype\n\x8c\x02u1\x85R"  # numpy.dtype("u1")


def refused(path, content, message):
    path.write_bytes(content)
    with guarded(), pytest.raises(DataError, match=rf"{path.name}: found no plain pickle .*{message}"):
        read_plain_pickle(path)


def test_20000_references_to_one_array_share_its_content(tmp_path):
    image = np.frombuffer(miniature.jpeg(1) + bytes(600_000), np.uint8)
    other = np.asfortranarray(np.zeros((2, 300_000), np.uint8))
    images = [image, other] * 10_000
    (tmp_path / "a.bin").write_bytes(pickle.dumps((images, [True, False] * 5_000)))
    with guarded():
        pairs = face_bin(tmp_path / "a.bin")
    encoded = pairs.images.read.encoded
    assert len(encoded) == 20_000
    assert len({id(content) for content in encoded}) == 2
    assert decode(pairs.images, 4, size=(8, 8)).shape == (3, 8, 8)


@pytest.mark.parametrize(
    "index",
    [b"r\xff\xff\xff\x1f", b"r\xff\xff\xff\x7f", b"p536870911\n", b"q\xff", b"p-1\n", b"p" + b"9" * 20 + b"\n"],
)
def test_a_memo_index_of_nine_bytes_takes_no_memory(tmp_path, index):
    refused(tmp_path / "a.bin", b"]" + index + b".", "it stores a value as number")


@pytest.mark.parametrize(
    "content",
    [
        b"\x8e" + struct.pack("<Q", 1 << 40) + b"x.",  # BINBYTES8
        b"\x8e" + struct.pack("<Q", (1 << 63) - 1) + b"x.",
        b"\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"x.",
        b"\x96" + struct.pack("<Q", 1 << 40) + b"x.",  # BYTEARRAY8
        b"\x8d" + struct.pack("<Q", 1 << 40) + b"x.",  # BINUNICODE8
        b"B" + struct.pack("<I", (1 << 32) - 1) + b"x.",
        b"X" + struct.pack("<I", (1 << 32) - 1) + b"x.",
        b"T" + struct.pack("<i", (1 << 31) - 1) + b"x.",
        b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"x.",  # LONG4
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",  # FRAME
        b"\x80\x04\x95" + struct.pack("<Q", (1 << 64) - 1) + b"N.",
    ],
)
def test_lengths_beyond_the_file(tmp_path, content):
    refused(tmp_path / "a.bin", content, "(expected|count|enough)")


def test_one_content_made_into_an_array_again_and_again(tmp_path):
    content = b"\x96" + struct.pack("<Q", 1 << 20) + bytes(1 << 20) + b"\x94"  # a bytearray, 0 in the memo
    make = b"cnumpy._core.numeric\n_frombuffer\n(h\x00" + U1 + b"J" + struct.pack("<i", 1 << 20) + b"\x85\x8c\x01CtR"
    refused(tmp_path / "a.bin", b"(]" + content + make * 9000 + b"l.", "share their content")
    state = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01J"
    state += struct.pack("<i", 1 << 20) + b"\x85" + U1 + b"\x89h\x00tb"
    refused(tmp_path / "a.bin", b"(" + content + state * 9000 + b"l.", "share their content")
    text = b"X" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"\x94"
    encode = b"c_codecs\nencode\nh\x00\x8c\x06latin1\x86R"
    refused(tmp_path / "a.bin", b"(" + text + encode * 9000 + b"l.", "share their content")


@pytest.mark.parametrize(
    "shape",
    [
        b"(" + b"J\xff\xff\xff\x7f" * 3000 + b"t",
        b"C\x04abcdJ\xff\xff\xff\x7f\x86",
        b"N",
        b"(" + b"K\x01" * 50 + b"t",
    ],
)
def test_shapes_that_are_expensive_to_multiply(tmp_path, shape):
    content = b"cnumpy._core.numeric\n_frombuffer\n(C\x01x" + U1 + shape + b"\x8c\x01CtR."
    refused(tmp_path / "a.bin", content, "it has an array")


def test_instructions_that_no_plain_value_needs(tmp_path):
    for content in (b"}.", b"\x8f.", b"\x97.", b"N\x81.", b"G" + bytes(8) + b".", b"P1\n.", b"\x82\x01."):
        refused(tmp_path / "a.bin", content, "it has the instruction [A-Z0-9_]+ at byte")


def test_a_hundred_megabytes_of_empty_lists(tmp_path, monkeypatch):
    monkeypatch.setattr("circlet.data.face.pickle_bounds._MOST_INSTRUCTIONS", 1000)
    refused(tmp_path / "a.bin", b"(" + b"]" * 2000 + b"l.", "more than 1,000 instructions")


def test_pipes_in_place_of_files_of_faces(tmp_path):
    os.mkfifo(tmp_path / "a.bin")
    miniature.write_face_records(tmp_path)
    (tmp_path / "train.rec").unlink()
    os.mkfifo(tmp_path / "train.rec")
    with guarded():
        with pytest.raises(DataError, match=r"a\.bin: found .*a named pipe, expected a regular file"):
            face_bin(tmp_path / "a.bin")
        with pytest.raises(DataError, match=r"train\.rec: found no readable file \(found a named pipe"):
            face_records(tmp_path)


def images_with_labels(root, labels, header=None):
    """train.rec with an image of each of these labels; header: the labels of record 0."""
    payloads = [] if header is None else [miniature.image_payload(list(header), b"")]
    payloads += [struct.pack("<IfQQ", 0, label, 0, 0) + miniature.jpeg(1) for label in labels]
    offset = 0
    with (root / "train.rec").open("wb") as records, (root / "train.idx").open("w") as index:
        for number, payload in enumerate(payloads):
            index.write(f"{number}\t{offset}\n")
            offset += records.write(miniature.record(payload))


@pytest.mark.parametrize("label", [1e19, -1.0, 0.5, float("nan"), float("inf"), 3e38, 16_777_218.0])
def test_labels_that_are_no_persons(tmp_path, label):
    images_with_labels(tmp_path, [0.0, 1.0, label])
    with guarded(), pytest.raises(DataError, match=r"train\.rec, record 2 \(byte \d+\): found the label.*, expected "):
        record_set(tmp_path)


@pytest.mark.parametrize("header", [(1e19, 1e19), (2.0, -3.0), (2.5, 3.0), (float("nan"), 3.0), (3.0, 1e19)])
def test_a_header_that_says_no_keys(tmp_path, header):
    images_with_labels(tmp_path, [0.0, 1.0], header)
    with guarded(), pytest.raises(DataError, match=r"train\.rec, record 0 \(byte 0\): found the label.*, expected "):
        record_set(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2\t-8", r"train\.idx, line 3: found the offset -8, expected at least 0"),
        ("-2\t8", r"train\.idx, line 3: found the key -2, expected at least 0"),
        ("2\t99999999999999999999", r"train\.idx: found no readable list .*99999999999999999999"),
        ("99999999999999999999\t4", r"train\.idx: found no readable list .*99999999999999999999"),
        ("2\t9223372036854775807", r"train\.rec, record 2 \(byte 9223372036854775807\): found the end of the file"),
        ("9223372036854775807\t9223372036854775807", r"train\.rec, record 9223372036854775807 \(byte"),
        ("2\t0", r"train\.idx: found the keys 0 and 2 at one offset"),
        ("2\t4", r"train\.rec, record 2 \(byte 4\): found .* expected a record"),
    ],
)  # fmt: skip
def test_an_index_that_points_elsewhere(tmp_path, line, message):
    images_with_labels(tmp_path, [0.0, 1.0, 2.0])
    lines = (tmp_path / "train.idx").read_text().splitlines()[:2]
    (tmp_path / "train.idx").write_text("\n".join([*lines, line]) + "\n")
    with guarded(), pytest.raises(DataError, match=message):
        record_set(tmp_path)


def part(kind, payload, length=None):
    return MAGIC + struct.pack("<I", kind << 29 | (len(payload) if length is None else length)) + payload


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (part(0, bytes(24), (1 << 29) - 1), "24 of its bytes, expected 536870911"),
        (part(0, struct.pack("<IfQQ", (1 << 32) - 1, 0, 0, 0)), "4294967295 labels, expected at most 4096"),
        (part(0, struct.pack("<IfQQ", 100, 0, 0, 0)), "24 bytes for 100 labels, expected at least 424"),
        (part(1, bytes(4)) + part(2, b"") * 5000 + part(3, b""), "more than 4096 parts"),
    ],
)
def test_records_that_claim_more_than_there_is(tmp_path, content, found):
    (tmp_path / "a.rec").write_bytes(content)
    for labels_only in (False, True):
        with guarded(), pytest.raises(DataError, match=rf"a\.rec, record 7 \(byte 0\): found {found}"):
            RecordFile(str(tmp_path / "a.rec")).read(7, 0, labels_only=labels_only)


def test_a_damaged_image_of_a_record_is_named_by_file_and_record(tmp_path):
    miniature.write_face_records(tmp_path)
    images = record_set(tmp_path)
    content = bytearray((tmp_path / "train.rec").read_bytes())
    start = int(images.read.offsets[1]) + 8 + 24
    content[start : start + 64] = bytes(64)
    (tmp_path / "train.rec").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"train\.rec, record 2: found no readable image"):
        decode(record_set(tmp_path), 1, size=(8, 8))
