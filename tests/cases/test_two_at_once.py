"""Two at once: one writes, the other is told who does; a start has a folder of its own."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

import circlet
from circlet.compare import Machine, Plan, compare, parse_contender
from circlet.compare import runs as compare_runs
from circlet.experiments import Experiment, next_folder
from circlet.locks import FolderInUse, locked
from circlet.training import LoopConfig, RunFolder, fit

HOLD = """
import sys, time
from pathlib import Path
from circlet.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder):
    """Another process holds the lock until the end, or until it is killed."""
    arguments = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def in_a_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def lock_once(folder):
    with locked(folder):
        pass


@pytest.mark.subprocess
def test_a_second_process_is_refused_by_name_of_the_first(tmp_path):
    with held_elsewhere(tmp_path) as process:
        found = rf"found process {process.pid} on .* \(.*python.*, since 20..-..-..T.*\) writing into it, expected nob"
        with pytest.raises(FolderInUse, match=re.escape(str(tmp_path)) + ": " + found):
            lock_once(tmp_path)
    lock_once(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.subprocess
def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    with held_elsewhere(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / ".lock").exists()
        lock_once(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.subprocess
def test_the_lock_of_a_killed_process_is_not_kept_by_its_loader_workers(tmp_path):
    read, write = os.pipe()
    if not (trainer := os.fork()):
        with locked(tmp_path):
            if not (worker := os.fork()):
                signal.pause()
            os.write(write, worker.to_bytes(8, "little"))
            signal.pause()
    worker = int.from_bytes(os.read(read, 8), "little")
    os.kill(trainer, signal.SIGKILL)
    os.waitpid(trainer, 0)
    try:
        lock_once(tmp_path)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_lock_inside_a_lock_of_the_same_thread_is_no_deadlock(tmp_path):
    with locked(tmp_path):
        lock_once(tmp_path / ".." / tmp_path.name)
        with pytest.raises(FolderInUse, match=f"process {os.getpid()} on "):
            in_a_thread(lambda: lock_once(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    in_a_thread(lambda: lock_once(tmp_path))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_flock_is_locked_by_existence(number, tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        locked(tmp_path),
        locked(tmp_path),
        pytest.raises(FolderInUse, match=rf"process {os.getpid()} on .*if that one is gone, remove .*/\.lock\.soft"),
    ):
        in_a_thread(lambda: lock_once(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "\\u001b[2J\\n"}', "[" * 4000, "x" * 10_000])
def test_a_note_of_the_holder_that_is_no_such_note_harms_nobody(content, tmp_path):
    with locked(tmp_path):
        (tmp_path / ".lock.json").write_text(content)
        with pytest.raises(FolderInUse, match="found another process writing into it"):
            in_a_thread(lambda: lock_once(tmp_path))


def test_a_name_of_the_holder_with_escape_sequences_does_not_reach_the_terminal(tmp_path):
    with locked(tmp_path):
        (tmp_path / ".lock.json").write_text('{"host": "a\\u001b[2Jb\\n", "pid": 1, "command": "c", "since": "d"}')
        with pytest.raises(FolderInUse, match=r"process 1 on a\\x1b\[2Jb\\n \(c, since d\)"):
            in_a_thread(lambda: lock_once(tmp_path))


def test_a_folder_that_cannot_be_locked_is_named(tmp_path):
    with pytest.raises(OSError, match="gone: no such folder, expected one to write into"):
        lock_once(tmp_path / "gone")


def loop(folder):
    batches = [(torch.randn(8, 3), torch.arange(8) % 4)] * 2
    return fit(nn.Linear(3, 2), circlet.CircleLoss(), batches, LoopConfig(steps=1, precision="fp32"), folder)


def test_fit_in_a_folder_that_is_written_to_is_refused_and_writes_nothing(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with locked(folder.path), pytest.raises(FolderInUse):
        in_a_thread(lambda: loop(folder.path))
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
    loop(folder.path)
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".lock")]


def test_a_run_in_a_folder_that_is_written_to_is_refused_and_writes_nothing(tmp_path):
    experiment = circlet.recipes.glyphs()
    folder = RunFolder.create(tmp_path / "run", experiment.to_json())
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with locked(folder.path), pytest.raises(FolderInUse, match=f"process {os.getpid()} on"):
        in_a_thread(lambda: circlet.resume(folder.path))
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_second_comparison_in_a_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(compare_runs, "_start", pytest.fail)
    plan = Plan(Experiment(), tuple(parse_contender(name, "pair") for name in ("circle", "triplet")))
    with locked(tmp_path), pytest.raises(FolderInUse, match=f"process {os.getpid()} on"):
        in_a_thread(lambda: compare(plan, tmp_path, Machine()))


def test_many_starts_at_once_have_each_a_folder_of_its_own(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: next_folder("glyphs", tmp_path / "runs"), range(64)))
    assert sorted(found, key=lambda path: int(path.name.split("-")[1])) == [
        tmp_path / "runs" / f"glyphs-{number}" for number in range(1, 65)
    ]
    assert (tmp_path / "runs" / "glyphs-64").is_dir()


def test_of_many_starts_in_one_folder_one_has_it(tmp_path):
    def start(number):
        try:
            return RunFolder.create(tmp_path / "run", {"number": number})
        except (FileExistsError, FolderInUse):
            return None

    with ThreadPoolExecutor(16) as pool:
        made = [number for number, folder in enumerate(pool.map(start, range(32))) if folder is not None]
    assert len(made) == 1
    assert RunFolder.open(tmp_path / "run").read_json("config.json") == {"number": made[0]}


def test_what_a_killed_start_has_locked_is_an_empty_folder(tmp_path):
    for name in (".lock", ".lock.json", ".lock.soft"):
        Path(tmp_path / name).touch()
    assert RunFolder.create(tmp_path, {"a": 1}).read_json("config.json") == {"a": 1}


def test_a_folder_of_somebody_elses_files_gets_no_lock(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FileExistsError, match="exists and is not an empty folder"):
        RunFolder.create(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
