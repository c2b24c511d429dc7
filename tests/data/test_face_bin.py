"""Verification files: every pickle protocol, those of Python 2, and hostile ones, which run nothing."""

import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
from PIL import Image

from circlet.data import DataError, face_bin
from circlet.data.check import count
from circlet.data.face.plain_pickle import read_plain_pickle
from tests.data import miniature


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path, protocol, arrays):
    expected = miniature.write_face_bin(tmp_path / "agedb_30.bin", protocol=protocol, arrays=arrays)
    pairs = face_bin(tmp_path, name="agedb_30")
    assert {what: count(pairs)[what] for what in expected} == expected
    assert pairs.is_same.tolist() == [True, False] * 10
    assert pairs.pairs[3].tolist() == [6, 7]
    found = np.asarray(pairs.images.read(5))
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(miniature.jpeg(2, 1)))))
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(pairs.images)).read(5)), found)


def python2(images, flags):
    """What Python 2 writes with protocol 2: text is BINSTRING."""
    strings = b"".join(b"T" + struct.pack("<i", len(image)) + image for image in images)
    return b"\x80\x02](" + strings + b"e](" + b"".join(b"\x88" if flag else b"\x89" for flag in flags) + b"e\x86."


def python2_array(image):
    """A uint8 array as numpy pickled it in Python 2."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01M"
        + struct.pack("<H", len(image))
        + b"\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(image))
        + image
        + b"tb"
    )


def test_python_2(tmp_path):
    path = tmp_path / "lfw.bin"
    images = [miniature.jpeg(number) for number in range(4)]
    images *= 2
    path.write_bytes(python2(images, [True, False] * 2))
    pairs = face_bin(path, num_folds=2)
    assert [pairs.images.read.encoded[i] for i in range(8)] == images
    assert pairs.is_same.tolist() == [True, False] * 2
    path.write_bytes(b"\x80\x02](" + b"".join(map(python2_array, images)) + b"e](\x88\x89\x88\x89e\x86.")
    pickletools.dis(path.read_bytes(), io.StringIO())
    assert face_bin(path, num_folds=2).images.read.encoded == tuple(images)


def test_flags_as_numpy(tmp_path):
    path = tmp_path / "a.bin"
    images = [miniature.jpeg(number) for number in range(8)]
    for flags in (np.array([True, False] * 2), [np.True_, np.False_] * 2, (1, 0, 1, 0)):
        path.write_bytes(pickle.dumps((images, flags)))
        assert face_bin(path, num_folds=2).is_same.tolist() == [True, False] * 2
    array = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    path.write_bytes(pickle.dumps([array, b"", np.uint8(7)], 5))
    found = read_plain_pickle(path)
    assert np.array_equal(found[0], array)
    assert found[1:] == [b"", 7]


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Pickles that would write `marker`, and some that reach for what the reader knows."""
    command = f"touch {marker}"
    yield pickle.dumps(([Runs(os.system, command)], [True]))
    yield pickle.dumps(([Runs(eval, f"open({str(marker)!r}, 'w')")], [True]))
    yield pickle.dumps(([Runs(open, str(marker), "w")], [True]), 0)
    yield f"cos\nsystem\n(S'{command}'\ntR.".encode()
    yield f"cposix\nsystem\n(S'{command}'\ntR.".encode()
    yield f"(S'{command}'\nios\nsystem\n.".encode()  # INST
    yield f"(cos\nsystem\nS'{command}'\no.".encode()  # OBJ
    yield f"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c{chr(len(command))}{command}\x85R.".encode()  # STACK_GLOBAL
    yield f"cnumpy\nload\n(S'{marker}'\ntR.".encode()
    yield b"cnumpy.core.multiarray\n_reconstruct.__globals__\n."
    yield b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93."
    yield b"cnumpy\ndtype\n(S'O'\ntR."  # an array of objects
    yield b"cnumpy\nndarray\n}S'__call__'\nS'x'\nsb."  # sets the state of a name
    yield b"\x80\x02cnumpy\nndarray\n)\x81."  # NEWOBJ
    yield b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR."
    yield b"cbuiltins\nbytes\n(I99999999999\ntR."
    yield pickle.dumps(([bytearray(b"x")] * 2, [True]), 2)
    yield b"Pidentity\n."  # a persistent id
    yield pickle.dumps(({"a": 1}, [True]))
    yield pickle.dumps(([1.5], [True]))
    yield pickle.dumps(([np.arange(3)], [True]))
    yield pickle.dumps(([np.array([None])], [True]))
    shared = []
    for _ in range(60):
        shared = [shared, shared]
    yield pickle.dumps((shared, [True]))  # 2^60 lists in some hundred bytes
    yield b""
    yield b"\x80\x04\x95"
    yield b"(" * 10
    yield b"]" + b"]a" * 3  # no end


@pytest.mark.slow
def test_hostile_pickles_run_nothing(tmp_path):
    marker = tmp_path / "was here"
    path = tmp_path / "hostile.bin"
    for content in hostile(marker):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"hostile.bin: found no plain pickle"):
            face_bin(path)
        assert not marker.exists(), content


def test_array_whose_content_is_too_short(tmp_path):
    path = tmp_path / "a.bin"
    good = pickle.dumps(([np.frombuffer(b"abcdefgh", np.uint8)] * 2, [True]), 2)
    path.write_bytes(good.replace(b"K\x08\x85", b"K\x09\x85"))
    assert path.read_bytes() != good
    with pytest.raises(DataError, match="its content does not fill"):
        face_bin(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([b"x"], "another content"),
        ((b"x", [True]), "another content"),
        (([b"x", b"y"], [True, False]), "found 2 images for 2 pairs"),
        (([], []), "found 0 images for 0 pairs"),
        (([b"x", b"y"], [2]), "flags other than true and false"),
        (([b"x", b"y"], True), "flags other than true and false"),
        (([b"x", b""], [True]), "image 1: found bytes"),
        (([b"x", "y"], [True]), "image 1: found str"),
        (([b"x", b"y"], [True]), "num_folds: found 10 for 1 pairs"),
        (([b"x", b"y"] * 20, [True, False] * 9 + [True] * 2), "is_same: found 2 of the 2 pairs of fold 10 the same"),
        (([b"x", b"y"] * 20, [True, False] * 2 + [False] * 16), "is_same: found 0 of the 2 pairs of fold 3 the same"),
    ],
)
def test_other_content(content, message, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=rf"a.bin.*{message}"):
        face_bin(path)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"cfp_fp.bin: found no readable file"):
        face_bin(tmp_path, name="cfp_fp")
