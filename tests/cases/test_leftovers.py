"""What killed processes leave half written goes with the next write; what is being written stays."""

import os
import time

import pytest

from circlet import leftovers
from circlet.files import write_atomically, write_text
from circlet.leftovers import part_file, remove_leftovers
from circlet.training import RunFolder


def own_part(folder):
    return folder / f".last.pt.{leftovers._host()}-{os.getpid()}.part"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_part_of_a_killed_process_goes_when_the_file_is_written_again(tmp_path):
    of_earlier_versions = (".last.pt.1.part", ".last.pt.4194305.part", f".last.pt.{os.getpid()}.part")
    for name in (*of_earlier_versions, own_part(tmp_path).name, f".last.pt.{leftovers._host()}-1.part"):
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "last.pt", "whole")
    assert names(tmp_path) == ["last.pt"]
    assert (tmp_path / "last.pt").read_text() == "whole"


def test_a_part_that_is_being_written_stays(tmp_path):
    with part_file(tmp_path / "last.pt") as file:
        file.write(b"first")
        os.rename(own_part(tmp_path), tmp_path / ".last.pt.1.part")  # as if of process 1
        write_text(tmp_path / "last.pt", "second")
        remove_leftovers(tmp_path)
        assert names(tmp_path) == [".last.pt.1.part", "last.pt"]
        os.rename(tmp_path / ".last.pt.1.part", own_part(tmp_path))
    assert (tmp_path / "last.pt").read_text() == "first"


def test_the_parts_of_all_files_go_when_a_run_writes_into_its_folder(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    (folder.path / ".best.pt.1.part").write_text("half")
    folder.write_json("data.json", {})  # by somebody who has not locked the folder
    assert (folder.path / ".best.pt.1.part").exists()
    with folder.locked():
        assert not [name for name in names(folder.path) if name.endswith(".part")]


@pytest.mark.parametrize("hours", [1, 25])
def test_a_part_of_another_host_whose_lock_is_not_seen_here_goes_after_a_day(tmp_path, monkeypatch, hours):
    monkeypatch.setattr(leftovers.socket, "gethostname", lambda: "another.cluster")
    left = own_part(tmp_path)
    left.write_text("half")
    os.utime(left, (time.time() - 3600 * hours,) * 2)
    monkeypatch.undo()
    write_text(tmp_path / "last.pt", "whole")
    assert left.exists() == (hours < 24)


def test_a_file_that_another_thread_writes_is_waited_for_but_not_for_ever(tmp_path, monkeypatch):
    with part_file(tmp_path / "last.pt") as file:
        file.write(b"first")
        monkeypatch.setattr(leftovers, "_WAIT_S", 0.0)
        with pytest.raises(OSError, match=r"\.last\.pt\..*\.part: found another process or thread writing it"):
            write_text(tmp_path / "last.pt", "second")
    assert (tmp_path / "last.pt").read_text() == "first"


def test_files_of_others_that_look_like_it_stay(tmp_path):
    others = [".mine.part", "last.pt.1.part", ".last.pt.x.part", ".other.2.part", ".last.pt.1.part.bak"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / ".last.pt.7.part").symlink_to(tmp_path / "elsewhere")
    write_text(tmp_path / "last.pt", "whole")
    assert names(tmp_path) == sorted([*others, "elsewhere", ".last.pt.7.part", "last.pt"])


@pytest.mark.parametrize("hours", [1, 25])
def test_where_there_are_no_locks_a_part_goes_after_a_day(tmp_path, monkeypatch, hours):
    def no_locks(file, flags):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(leftovers.fcntl, "flock", no_locks)
    left = tmp_path / ".last.pt.1.part"
    left.write_text("half")
    os.utime(left, (time.time() - 3600 * hours,) * 2)
    write_text(tmp_path / "last.pt", "whole")
    assert left.exists() == (hours < 24)
    assert (tmp_path / "last.pt").read_text() == "whole"


def test_without_fcntl_files_are_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "_LOCKS", False)
    write_text(tmp_path / "a", "whole")
    with pytest.raises(ValueError, match="no"):
        write_atomically(tmp_path / "a", lambda file: (_ for _ in ()).throw(ValueError("no")))
    assert names(tmp_path) == ["a"]


def test_a_link_in_the_place_of_a_part_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    own_part(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"last.pt: could not be written"):
        write_text(tmp_path / "last.pt", "whole")
    assert (tmp_path / "elsewhere").read_text() == "mine"
