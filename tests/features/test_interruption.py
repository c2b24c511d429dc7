"""What was computed before an end is there at the next start, and two processes do not hinder each other."""

import time

import numpy as np
import pytest

from circlet.features import FeatureStore, parts, store
from tests.features.cases import NETWORK, Counted, files, key, never, rows_of
from tests.forks import FORKS

KEYS = [key(i) for i in range(40)]


def compute_slowly(folder, seconds, said):
    """In a process of its own: compute a row now and then, and say so."""
    store.SECONDS_BETWEEN_FILES = -1.0

    def compute(missing):
        for index in missing.tolist():
            yield [index], rows_of([KEYS[index]])
            said.send(index)
            time.sleep(seconds)

    assert np.array_equal(FeatureStore(NETWORK, folder=folder).rows(KEYS, compute), rows_of(KEYS))


def started(folder, seconds):
    heard, said = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=compute_slowly, args=(folder, seconds, said))
    process.start()
    said.close()  # our copy
    return process, heard


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
    process, heard = started(tmp_path, 0.02)
    for _ in range(12):
        heard.recv()
    process.kill()
    process.join()
    heard.close()
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
    process, heard = started(tmp_path, 0.01)
    heard.recv()
    assert np.array_equal(FeatureStore(NETWORK, folder=tmp_path).rows(KEYS, slowly), rows_of(KEYS))
    process.join()
    assert process.exitcode == 0
    heard.close()
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
