"""What was computed before an end is there at the next start, and two processes do not hinder each other."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from circlet.features import FeatureStore, parts, store
from tests.features.cases import NETWORK, Counted, files, key, never, rows_of

ROOT = Path(__file__).parents[2]
KEYS = [key(i) for i in range(40)]

# Argument: folder. Computes a row now and then, and says so.
SLOW = """
import sys, time
from pathlib import Path
from circlet.features import FeatureStore, store
from tests.features.cases import NETWORK, key, rows_of

store.SECONDS_BETWEEN_FILES = -1.0
keys = [key(i) for i in range(40)]

def compute(missing):
    for index in missing.tolist():
        yield [index], rows_of([keys[index]])
        print(index, flush=True)
        time.sleep(float(sys.argv[2]))

rows = FeatureStore(NETWORK, folder=Path(sys.argv[1])).rows(keys, compute)
assert (rows.numpy() == rows_of(keys)).all()
"""


def started(folder, seconds):
    command = [sys.executable, "-c", SLOW, str(folder), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_rows_before_a_failure_are_kept(tmp_path):
    with pytest.raises(RuntimeError, match="lights went out"):
        FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, Counted(KEYS, die_at=21))
    compute = Counted(KEYS)
    assert np.array_equal(FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, compute), rows_of(KEYS))
    assert compute.asked == list(range(20, 40))
    assert len(files(tmp_path)) == 1


def test_rows_are_written_while_the_others_are_computed(tmp_path, monkeypatch):
    def look(missing):
        for number, index in enumerate(missing.tolist()):
            assert len(other.find(KEYS).missing) == 40 - number
            yield [index], rows_of([KEYS[index]])

    other = FeatureStore(NETWORK, folder=tmp_path)
    monkeypatch.setattr(store, "SECONDS_BETWEEN_FILES", -1.0)
    FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, look)
    assert len(files(tmp_path)) == 1
    assert np.array_equal(other.rows(KEYS, never), rows_of(KEYS))


@pytest.mark.subprocess
def test_a_killed_process_loses_no_more_than_the_last_rows(tmp_path):
    process = started(tmp_path, 0.02)
    for _ in range(12):
        process.stdout.readline()
    process.kill()
    process.communicate()
    compute = Counted(KEYS)
    assert np.array_equal(FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, compute), rows_of(KEYS))
    assert len(compute.asked) <= 40 - 10
    assert len([path for path in files(tmp_path) if path.suffix == ".npy"]) == 1


@pytest.mark.subprocess
def test_two_processes_compute_the_same_at_once(tmp_path, monkeypatch):
    def slowly(missing):
        for index in missing.tolist():
            yield [index], rows_of([KEYS[index]])
            time.sleep(0.01)

    monkeypatch.setattr(store, "SECONDS_BETWEEN_FILES", -1.0)
    process = started(tmp_path, 0.01)
    process.stdout.readline()
    assert np.array_equal(FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, slowly), rows_of(KEYS))
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    features = FeatureStore(NETWORK, folder=tmp_path)
    assert np.array_equal(features.rows(KEYS, never), rows_of(KEYS))
    assert len(files(tmp_path)) == 1  # the other copy has gone


def test_duplicates_of_two_writers_are_merged(tmp_path):
    one, two = (FeatureStore(NETWORK, folder=tmp_path) for _ in range(2))

    def interleaved(missing):
        two.add(KEYS[:30], rows_of(KEYS[:30]))
        yield from Counted(KEYS)(missing)

    assert np.array_equal(one.rows(KEYS, interleaved), rows_of(KEYS))
    assert np.array_equal(two.rows(KEYS, never), rows_of(KEYS))
    (path,) = files(tmp_path)
    assert len(np.load(path)) == 40


def test_what_another_process_merges_in_the_meantime_is_found(tmp_path, monkeypatch):
    FeatureStore(NETWORK, folder=tmp_path).add(KEYS[:20], rows_of(KEYS[:20]))
    FeatureStore(NETWORK, folder=tmp_path).add(KEYS[20:], rows_of(KEYS[20:]))
    read, merged = parts.read, []

    def late(path):
        if not merged:
            merged.append(path)
            FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, never)
        return read(path)

    monkeypatch.setattr(parts, "read", late)
    assert np.array_equal(FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, never), rows_of(KEYS))
    assert not merged[0].exists()


def test_a_reader_goes_on_with_a_file_that_was_removed(tmp_path):
    features = FeatureStore(NETWORK, folder=tmp_path)
    features.add(KEYS, rows_of(KEYS))
    features.find(KEYS)
    (mapped,) = features._shelf._parts
    mapped.path.unlink()
    assert np.array_equal(mapped.records["row"], rows_of(KEYS))
    assert len(features.find(KEYS).missing) == 40


def test_a_file_counts_for_more_than_those_before_it_whatever_the_clock_says(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 7)
    names = [parts.new_name()]
    for _ in range(12):
        names.append(parts.new_name(after=names[-1]))
    assert names == sorted(names)
