"""Files that are cut off, changed, of others or of another version; writers that die at any byte, and full disks."""

import errno
import json
import os
import shutil
import struct
from functools import partial

import numpy as np
import pytest

from circlet.vectors import embedded, journal, open_store, segment
from tests.vectors.cases import AXES, items_of, unit


@pytest.fixture
def folder(tmp_path):
    """A store with a segment that removes from another one, and a journal with three records."""
    with pytest.MonkeyPatch.context() as patch, open_store(tmp_path / "index", 4, create=True) as store:
        patch.setattr(embedded, "JOURNAL_BYTES", 150)
        store.put(items_of("a", "b", "c", "d", "e", "f", "g", "h", "i"), unit(0, 9))
        store.put(items_of("a", "x", "y", "z"), unit(1, 4))
        patch.undo()
        store.put(items_of("k"), AXES[:1])
        store.remove(["b"])
        store.put(items_of("l", "m"), AXES[:2])
        store.set_meta({"root": "photos"})
    return tmp_path / "index"


def contents(folder):
    with open_store(folder, read_only=True) as store:
        items = store.items()
        return [(item, row.tobytes()) for item, row in zip(items, store.vectors([i.name for i in items]), strict=True)]


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def test_a_torn_record_at_every_byte(folder):
    """A process that dies while it writes a record leaves the others, whatever part of it is there."""
    whole = contents(folder)
    path = only(folder, "journal-*")
    before = path.read_bytes()
    with open_store(folder) as store:
        store.put(items_of("new", "a"), unit(9, 2))
    after = contents(folder)
    grown = path.read_bytes()
    for length in range(len(before), len(grown)):
        path.write_bytes(before + grown[len(before) : length])  # the header of before: not acknowledged
        assert contents(folder) == whole
        path.write_bytes(before + grown[len(before) : length] + bytes(len(grown) - length))  # made long, not yet filled
        assert contents(folder) == whole
    path.write_bytes(before + grown[len(before) :])
    assert contents(folder) == after  # whole, if not acknowledged
    path.write_bytes(before + b"rec\nwhatever")
    with open_store(folder) as store:  # a writer cuts it off, and goes on behind what counts
        store.put(items_of("later"), AXES[:1])
    assert len(contents(folder)) == len(whole) + 1


def test_an_acknowledged_record_that_is_missing_is_an_error(folder):
    path = only(folder, "journal-*")
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=r"journal-.*(cut off|another kind)"):
            contents(folder)


@pytest.mark.parametrize("pattern", ["journal-*", "segment-*", "circlet-vectors.json"])
def test_a_flipped_bit_is_an_error_or_harmless(folder, pattern):
    """Never another answer: an error that names the file, or what was there (where a bit means nothing)."""
    whole = contents(folder)
    path = sorted(folder.glob(pattern))[0]
    raw = path.read_bytes()
    errors = 0
    for place in range(0, len(raw), max(1, len(raw) // 300)):
        if raw[place : place + 8] == bytes(8) and place % 5:
            continue  # padding, mostly
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :])
        found = error_of(lambda: contents(folder), ValueError)
        if found is None:
            assert contents(folder) == whole, place
            continue
        assert path.name in found
        assert len(found.splitlines()) == 1
        errors += 1
    assert errors > 20


def test_damaged_vectors_are_seen_by_every_search(folder):
    path = sorted(folder.glob("segment-*"))[0]
    raw = bytearray(path.read_bytes())
    raw[4096 + 16 * 3] ^= 1
    path.write_bytes(raw)
    for queries in (AXES[:1], AXES):
        with open_store(folder, read_only=True) as store, pytest.raises(ValueError, match=r"segment.*damaged vectors"):
            store.search(queries, 2)
    with open_store(folder) as store, pytest.raises(ValueError, match="damaged vectors"):
        store.compact(show_progress=False)
    with open_store(folder) as store:
        assert len(store) == 14
        store.put(items_of("still"), AXES[:1])


@pytest.mark.parametrize("pattern", ["journal-*", "segment-*", "circlet-vectors.json"])
def test_cut_off_missing_and_foreign(folder, tmp_path, pattern):
    path = sorted(folder.glob(pattern))[0]
    raw = path.read_bytes()
    for length in (0, 1, 7, 8, 60, len(raw) // 2, len(raw) - 2):
        path.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=path.name):
            contents(folder)
    path.write_bytes(raw + b"x" * 64 if pattern != "journal-*" else b"x" * 200)
    with pytest.raises(ValueError, match=path.name):
        contents(folder)
    path.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=path.name):
        contents(folder)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises((ValueError, FileNotFoundError), match=path.name):
        contents(folder)


def test_a_segment_of_another_index(folder, tmp_path):
    with open_store(tmp_path / "other", 4, create=True) as store:
        store.put(items_of("q"), AXES[:1])
        store.compact(show_progress=False)
    shutil.copy(only(tmp_path / "other", "segment-*"), sorted(folder.glob("segment-*"))[0])
    with pytest.raises(ValueError, match="segment of another index"):
        contents(folder)


def test_another_version(folder):
    path = folder / "circlet-vectors.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "version": 9}))
    with pytest.raises(ValueError, match="found version 9, expected 1: made by another version of circlet"):
        contents(folder)
    path.write_text(json.dumps({**found, "format": "other"}))
    with pytest.raises(ValueError, match="another kind of file"):
        contents(folder)
    path.write_text(json.dumps(found))
    for name in ("segment-*", "journal-*"):
        path = sorted(folder.glob(name))[0]
        raw = bytearray(path.read_bytes())
        raw[8] = 7
        path.write_bytes(raw)
        with pytest.raises(ValueError, match="found version 7, expected 1"):
            contents(folder)


def test_a_manifest_that_leads_elsewhere(folder):
    """Whoever can write a checksum can name numbers only, within the folder."""
    from circlet.vectors.manifest import _checksum

    path = folder / "circlet-vectors.json"
    found = json.loads(path.read_text())
    changes = ({"journal": "../x"}, {"journal": -1}, {"journal": 10**9}, {"dim": 0}, {"dim": 10**9}, {"extra": 1},
               {"segments": [{"number": 1, "crc": 0}] * 2}, {"next": 10**30}, {"segments": 3})  # fmt: skip
    for change in changes:
        state = {**found["state"], **change}
        path.write_text(json.dumps({**found, "state": state, "crc32": _checksum(state, found["meta"])}))
        with pytest.raises(ValueError, match=r"circlet-vectors\.json"):
            contents(folder)


def test_a_header_that_asks_for_memory(folder):
    path = sorted(folder.glob("segment-*"))[0]
    raw = bytearray(path.read_bytes())
    for at, value in ((16, 1 << 40), (24, 1 << 60), (32, 1 << 62), (12, 1 << 31)):
        changed = bytearray(raw)
        struct.pack_into("<I" if at == 12 else "<Q", changed, at, value)
        struct.pack_into("<I", changed, segment._HEADER.size, segment.crc32(bytes(changed[: segment._HEADER.size])))
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="cut off, or changed"):
            contents(folder)


def test_a_record_that_asks_for_memory(folder):
    path = only(folder, "journal-*")
    raw = bytearray(path.read_bytes())
    head = journal._RECORD.pack(b"rec\n", 1, 1 << 31, 1 << 62, 0)
    raw[128 : 128 + len(head) + 4] = head + struct.pack("<I", journal.crc32(head))
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="damaged data at byte 128"):
        contents(folder)


def test_leftovers_of_a_killed_writer_go(folder):
    whole = contents(folder)
    for name in ("segment-000077.vectors", "journal-000078.records", "approximate-000079.codes"):
        (folder / name).write_bytes(b"half")
    (folder / "notes.txt").write_text("of the user")
    assert contents(folder) == whole
    open_store(folder).close()
    assert contents(folder) == whole
    assert not list(folder.glob("*-00007*"))
    assert (folder / "notes.txt").exists()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_fails_at_any_call(folder, monkeypatch, call):
    """Whatever call of the system fails first: the change is whole or absent, and the store goes on or says why not."""
    monkeypatch.setattr(embedded, "JOURNAL_BYTES", 400)
    names = [f"new {i}" for i in range(12)]
    for fails_at in range(12):
        shutil.rmtree(folder.parent / "copy", ignore_errors=True)
        shutil.copytree(folder, folder.parent / "copy")
        before = {item.name for item, _ in contents(folder)}
        store = open_store(folder.parent / "copy")
        acknowledged = set()
        with monkeypatch.context() as patch:
            fail_once(patch, call, fails_at)
            for i, name in enumerate(names):
                found = error_of(partial(store.put, items_of(name), unit(i, 1)), (OSError, ValueError))
                if found is None:
                    acknowledged.add(name)
                else:
                    assert len(found.splitlines()) == 1
                    assert "could not be written" in found or "No space" in found or "open it again" in found
        store.close()
        found = [item.name for item, _ in contents(folder.parent / "copy")]
        assert len(found) == len(set(found))
        assert before | acknowledged <= set(found) <= before | set(names)


def error_of(do, kinds):
    """What the error says that it raises; None if it raises none."""
    try:
        do()
    except kinds as error:
        return str(error)
    return None


def fail_once(patch, call, number):
    """The `number`-th of the calls fails as on a full disk."""
    left = iter(range(number, -1, -1))
    name, place = {"write": ("_write", journal.JournalWriter), "fsync": ("fsync", os), "replace": ("replace", os)}[call]
    original = getattr(place, name)

    def failing(*arguments, **named):
        if next(left, -1) == 0:
            if call == "write":
                original(arguments[0], arguments[1], arguments[2][: len(arguments[2]) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments, **named)

    patch.setattr(place, name, failing)


def test_rows_that_a_checksum_knows():
    for dim in (1, 4, 5):
        rows = unit(0, 7, dim)
        sums = segment.row_sums(rows)
        for bit in range(0, 32 * dim, 7):
            flipped = rows.copy()
            flipped.view(np.uint8)[3, bit // 8] ^= 1 << bit % 8
            assert (segment.row_sums(flipped) != sums).tolist() == [i == 3 for i in range(7)]
