"""A disk that does not take it, the limit and what goes first, and emptying."""

import errno
import os
import time

import numpy as np
import pytest

from circlet.features import FeatureStore, clear, default_folder, default_limit, parts, room, usage
from tests.features.cases import DIM, NETWORK, Counted, files, key, never, rows_of

KEYS = [key(i) for i in range(64)]
RECORD = 20 + 4 * DIM
WIDE = 5000  # beside which the header of a file is nothing


def total(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.npy"))


def test_a_file_in_the_place_of_the_folder(tmp_path, capsys):
    folder = tmp_path / "features"
    folder.write_text("mine")
    features = FeatureStore(NETWORK, folder=folder)
    for _ in range(2):
        compute = Counted(KEYS)
        assert np.array_equal(features.rows(KEYS, compute), rows_of(KEYS))
        assert len(compute.asked) == 64
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"features are not kept: {folder}: ")
    assert folder.read_text() == "mine"


def test_a_full_disk(tmp_path, capsys, monkeypatch):
    FeatureStore(NETWORK, folder=tmp_path).add(KEYS[:8], rows_of(KEYS[:8]))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for _ in range(2):
        compute = Counted(KEYS)
        assert np.array_equal(FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, compute), rows_of(KEYS))
        assert compute.asked == list(range(8, 64))  # what is there is read all the same
    expected = f"features are not kept: {tmp_path}: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == expected
    assert len(files(tmp_path)) == 1  # and nothing half written


def test_a_full_disk_while_merging(tmp_path, capsys, monkeypatch):
    for half in (KEYS[:32], KEYS[32:]):
        FeatureStore(NETWORK, folder=tmp_path).add(half, rows_of(half))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert np.array_equal(FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, never), rows_of(KEYS))
    assert len(files(tmp_path)) == 2
    assert capsys.readouterr().err == ""


def test_a_network_that_is_a_link_is_not_used(tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "features"
    folder.mkdir()
    (folder / NETWORK).symlink_to(tmp_path / "elsewhere")
    assert np.array_equal(FeatureStore(NETWORK, folder=folder).rows(KEYS, Counted(KEYS)), rows_of(KEYS))
    assert "is a link" in capsys.readouterr().err
    assert not os.listdir(tmp_path / "elsewhere")


def test_the_least_recently_used_goes_first(tmp_path):
    limit = int(2.1 * 64 * 4 * WIDE)
    for age, network in enumerate(["aaaaaaaa", "bbbbbbbb"]):
        FeatureStore(network, folder=tmp_path, limit_bytes=limit).rows(KEYS, Counted(KEYS, dim=WIDE))
        for path in files(tmp_path, network):
            os.utime(path, (age + 1000, age + 1000))
    FeatureStore("aaaaaaaa", folder=tmp_path, limit_bytes=limit).rows(KEYS, never)  # now b is the oldest
    FeatureStore("cccccccc", folder=tmp_path, limit_bytes=limit).rows(KEYS, Counted(KEYS, dim=WIDE))
    assert total(tmp_path) <= limit
    for network in ("aaaaaaaa", "cccccccc"):
        FeatureStore(network, folder=tmp_path, limit_bytes=limit).rows(KEYS, never)
    assert len(FeatureStore("bbbbbbbb", folder=tmp_path, limit_bytes=limit).find(KEYS).missing) > 32


def test_more_than_the_limit_is_kept_as_far_as_it_goes(tmp_path, capsys):
    limit = 48 * 4 * WIDE
    missing = 64
    for _ in range(3):  # the same part is there each time: what one call uses, it does not remove
        compute = Counted(KEYS, dim=WIDE)
        features = FeatureStore(NETWORK, folder=tmp_path, limit_bytes=limit)
        assert np.array_equal(features.rows(KEYS, compute), rows_of(KEYS, WIDE))
        assert len(compute.asked) <= missing
        missing = len(features.find(KEYS).missing)
        assert total(tmp_path) <= limit
    assert missing <= 64 - 40
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"features are not kept beyond the limit of 1 MB (CIRCLET_CACHE_LIMIT) in {tmp_path}"


def test_additions_push_out_the_oldest(tmp_path):
    limit = 20 * (RECORD + 256)
    features = FeatureStore(NETWORK, folder=tmp_path, limit_bytes=limit)
    for i, name in enumerate(KEYS):
        features.add([name], rows_of([name]))
        os.utime(files(tmp_path)[-1], (i, i))
        assert total(tmp_path) <= limit
    assert features.find(KEYS[-1:]).missing.tolist() == []


def test_no_limit_is_no_store(tmp_path):
    FeatureStore(NETWORK, folder=tmp_path).add(KEYS, rows_of(KEYS))
    off = FeatureStore(NETWORK, folder=tmp_path, limit_bytes=0)
    assert len(off.find(KEYS).missing) == 64
    compute = Counted(KEYS + KEYS[:1])
    assert np.array_equal(off.rows(KEYS + KEYS[:1], compute), rows_of(KEYS + KEYS[:1]))
    assert len(compute.asked) == 64
    assert len(FeatureStore(NETWORK, folder=tmp_path).find(KEYS).missing) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 4 * 10**9), ("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5kB", 1500), ("12345", 12345), ("0", 0)],
)
def test_the_limit_of_the_environment(monkeypatch, text, expected):
    monkeypatch.setenv("CIRCLET_CACHE_LIMIT", text)
    assert default_limit() == expected


@pytest.mark.parametrize("text", ["lots", "-1", "2 GiB", "1e9", "nan"])
def test_a_limit_that_is_none(monkeypatch, text):
    monkeypatch.setenv("CIRCLET_CACHE_LIMIT", text)
    with pytest.raises(ValueError, match=f"CIRCLET_CACHE_LIMIT: found '{text}', expected bytes, such as 500MB, 2GB or"):
        FeatureStore(NETWORK)


def test_defaults_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path))
    monkeypatch.setenv("CIRCLET_CACHE_LIMIT", "1MB")
    features = FeatureStore(NETWORK)
    assert (features.folder, features.limit_bytes) == (tmp_path / "features", 10**6)
    assert default_folder() == features.folder
    features.add(KEYS, rows_of(KEYS))
    assert usage() == {NETWORK: total(tmp_path)}
    assert clear() > 64 * RECORD
    assert usage() == {}


def test_usage_and_clear_touch_what_is_ours_alone(tmp_path):
    assert (usage(tmp_path / "none"), clear(tmp_path / "none")) == ({}, 0)
    folder, elsewhere = tmp_path / "features", tmp_path / "elsewhere"
    FeatureStore(NETWORK, folder=folder).add(KEYS, rows_of(KEYS))
    FeatureStore("aaaaaaaa", folder=elsewhere).add(KEYS, rows_of(KEYS))
    (folder / "bbbbbbbb").symlink_to(elsewhere / "aaaaaaaa")
    (folder / NETWORK / "notes.npy").write_text("mine")
    (folder / "not-a-network").mkdir()
    (folder / NETWORK / parts.new_name()).symlink_to(*files(elsewhere, "aaaaaaaa"))
    freed = total(elsewhere)
    assert usage(folder) == {NETWORK: freed}
    assert clear(folder) == freed
    assert len(files(elsewhere, "aaaaaaaa")) == 1
    assert (folder / NETWORK / "notes.npy").read_text() == "mine"
    assert (folder / "not-a-network").is_dir()


def test_what_a_dead_process_left_behind_goes(tmp_path):
    features = FeatureStore(NETWORK, folder=tmp_path)
    features.add(KEYS[:1], rows_of(KEYS[:1]))
    dead, alive = (tmp_path / NETWORK / f".{parts.new_name()}.{writer}.part" for writer in ("1", "0a1b2c3d-2"))
    for path in (dead, alive):
        path.write_bytes(b"half")
    os.utime(dead, (time.time() - 7200, time.time() - 7200))
    assert usage(tmp_path)[NETWORK] == total(tmp_path) + 8
    features.add(KEYS[1:2], rows_of(KEYS[1:2]))
    assert (dead.exists(), alive.exists()) == (False, True)
    clear(tmp_path)
    assert not alive.exists()


def test_nothing_goes_where_it_would_not_be_enough(tmp_path):
    FeatureStore("aaaaaaaa", folder=tmp_path).add(KEYS, rows_of(KEYS))
    assert not room.make_room(tmp_path, 10**6, 10**5, in_use=set())
    assert len(files(tmp_path, "aaaaaaaa")) == 1
