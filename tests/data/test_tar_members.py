"""Members of tars by position, held against Python's tarfile; and tars that claim what they do not have."""

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.data import DataError
from circlet.data.regular import open_regular
from circlet.data.streams.tar_members import tar_members
from tests.data.shard_files import write_members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
part = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=40)
names = st.lists(st.lists(part, min_size=1, max_size=4).map("/".join), min_size=1, max_size=5)


def members(path):
    with open_regular(path) as file:
        return [tuple(member) for member in tar_members(path, file)]


@given(names=names, format=st.sampled_from(FORMATS[1:]), sizes=st.lists(st.integers(0, 1500), min_size=5, max_size=5))
def test_as_tarfile(names, format, sizes, tmp_path_factory):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    write_members(path, [(name, bytes(size)) for name, size in zip(names, sizes, strict=False)], format)
    with tarfile.open(path) as tar:
        expected = [(info.name, info.offset_data, info.size) for info in tar if info.isreg()]
    # tarfile takes slashes off the end of a name.
    assert [(name.rstrip("/"), *rest) for name, *rest in members(path)] == expected


def test_a_name_of_two_fields(tmp_path):
    name = "folder/" * 30 + "a.jpg"
    write_members(tmp_path / "a.tar", [(name, b"x")])
    assert members(tmp_path / "a.tar") == [(name, 512, 1)]


def header(name=b"a.jpg", size=b"00000000001\0", kind=b"0"):
    block = bytearray(512)
    block[: len(name)], block[124:136], block[156:157], block[148:156] = name, size, kind, b" " * 8
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "end of the file at byte 0.*cut off"),
        (bytes(100), "end of the file at byte 100.*cut off"),
        (b"\x1f\x8b" + bytes(1000), "a compressed tar, expected a plain one"),
        (b"x" * 512, "no tar"),
        (header() + bytes(512) + b"y" * 512, "no header of a member at byte 1024"),
        (header() + b"x" + bytes(511), "end of the file at byte 1024.*cut off"),
        (
            header(size=b"00000002000\0") + bytes(100),
            r"member 'a.jpg': found the end of the file after 100 of its 1024",
        ),
        (header(size=b"\x80" + bytes(3) + b"\xff" * 8) + END, "member 'a.jpg': found the end of the file after 1024"),
        (header(size=b"\xff" * 12) + END, "byte 0: found the number .*octal digits"),
        (header(size=b"0000000009z\0") + END, "byte 0: found the number .*octal digits"),
        (header(kind=b"2", size=b"0\0") + END, "member 'a.jpg': found a symbolic link, expected files alone"),
        (header(kind=b"1", size=b"0\0") + END, "a hard link"),
        (header(kind=b"S", size=b"0\0") + END, "a sparse file"),
        (header(kind=b"Z", size=b"0\0") + END, "a member of kind b'Z'"),
        (header(kind=b"x", size=b"00000400000\0") + bytes(1 << 18), "an extended header of 131,072 bytes"),
        (header(kind=b"x", size=b"00000000005\0") + b"99 a=".ljust(512, b"\0") + END, "the pax record '99 a='"),
        (header(kind=b"x", size=b"00000000005\0") + b"0 a=b".ljust(512, b"\0") + END, "the pax record"),
        (header(kind=b"x", size=b"00000000011\0") + b"9 size=x\n".ljust(512, b"\0") + END, "the size 'x'"),
        (header(kind=b"x", size=b"00000000026\0") + b"22 GNU.sparse.name=abc\n".ljust(512, b"\0") + END, "sparse"),
        (header(kind=b"L", size=b"00000100000\0") + bytes(1 << 16), "an extended header of 32,768 bytes"),
    ],
)
def test_tars_that_cannot_be(content, expected, tmp_path):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=expected) as error:
        members(tmp_path / "a.tar")
    assert str(error.value).startswith(f"{tmp_path / 'a.tar'}")
    assert "\n" not in str(error.value)


def test_a_name_that_leads_elsewhere_is_a_name(tmp_path):
    write_members(tmp_path / "a.tar", [("../../etc/1.jpg", b"x"), ("/etc/2.jpg", b"y")])
    assert [name for name, *_ in members(tmp_path / "a.tar")] == ["../../etc/1.jpg", "/etc/2.jpg"]
