"""The run folder: nothing is overwritten, nothing is half written, nothing loaded can run code."""

import json
import math
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from circlet.files import write_atomically
from circlet.training import RunFolder, load, load_module


def test_an_existing_folder_is_not_touched(tmp_path):
    RunFolder.create(tmp_path / "run", {"a": 1})
    with pytest.raises(FileExistsError, match=r"run: exists and is not an empty folder.*--resume"):
        RunFolder.create(tmp_path / "run", {"a": 2})
    assert RunFolder.open(tmp_path / "run").read_json("config.json") == {"a": 1}
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        RunFolder.create(tmp_path / "file", {})
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", {})


def test_open_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; expected the run folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no config.json in it"):
        RunFolder.open(tmp_path)


def test_what_a_start_left_that_was_cut_off_is_written_over(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("environment.json", {})
    (tmp_path / ".config.json.1.part").write_text("{")
    assert RunFolder.create(tmp_path, {"a": 1}).read_json("config.json") == {"a": 1}
    assert "torch" in folder.read_json("environment.json")
    (tmp_path / "config.json").unlink()
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(FileExistsError):
        RunFolder.create(tmp_path, {})


def test_a_run_of_a_search_is_no_other_run(tmp_path):
    RunFolder.create(tmp_path / "run", {}, validation_share=0.25)
    with pytest.raises(ValueError, match="run: found a run of the search of circlet compare, tested on 25% of its tra"):
        RunFolder.open(tmp_path / "run")
    assert RunFolder.open(tmp_path / "run", of_search=True).path == tmp_path / "run"


def test_numbers_that_are_not_finite_are_json_all_the_same(tmp_path):
    def strict(text):
        return json.loads(text, parse_constant=pytest.fail)

    folder = RunFolder(tmp_path)
    folder.write_json("result.json", {"test": {"map@r": math.nan, "recall@1": 0.5}, "ks": (1, math.inf), "name": "x"})
    written = {"test": {"map@r": None, "recall@1": 0.5}, "ks": [1, None], "name": "x"}
    assert strict((tmp_path / "result.json").read_text()) == written
    found = folder.read_result()
    assert math.isnan(found["test"]["map@r"])
    assert found["test"]["recall@1"] == 0.5
    with folder.metrics(0) as log:
        log({"step": 1, "loss": 1.0, "gradient_norm": math.inf})
    assert strict((tmp_path / "metrics.jsonl").read_text())["gradient_norm"] is None
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "loss": 1.0, "s_p": NaN}\n')  # as earlier versions wrote
    assert folder.read_metrics() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}]


def test_a_run_that_diverged_says_why_until_it_goes_on(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.diverged is None
    folder.end_without_result("step 3: the loss is nan")
    assert folder.diverged == "step 3: the loss is nan"
    folder.begin({"train_classes": 3})
    assert folder.diverged is None


def test_environment_is_recorded(tmp_path):
    environment = RunFolder.create(tmp_path / "run", {}).read_json("environment.json")
    assert environment["torch"] == torch.__version__
    assert {"date", "command", "python", "platform", "cpu_threads", "devices"} <= environment.keys()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"file: could not be written \(.*No space left.*unchanged"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.subprocess
def test_full_disk_in_the_middle_of_a_checkpoint(tmp_path):
    """A limit on the size of files stands for the full disk: the kernel refuses the write half-way."""
    script = f"""
import resource, signal, torch
from pathlib import Path
from circlet.training import RunFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = RunFolder(Path({str(tmp_path)!r}))
folder.save(folder.last, {{"model": {{"w": torch.zeros(10)}}}})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    folder.save(folder.last, {{"model": {{"w": torch.ones(1_000_000)}}}})
except OSError as error:
    print("OSError:", error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "OSError:" in result.stdout, result.stderr
    assert "last.pt: could not be written" in result.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]
    assert torch.equal(load(tmp_path / "last.pt")["model"]["w"], torch.zeros(10))


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    with folder.metrics(0) as log:
        for step in (5, 10, 15):
            log({"step": step, "loss": 1.0 / step})
    with open(folder.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "lo')  # killed while writing
    assert [line["step"] for line in folder.read_metrics()] == [5, 10, 15]
    with folder.metrics(10) as log:
        log({"step": 15})
    assert [line["step"] for line in folder.read_metrics()] == [5, 10, 15]


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_hostile_checkpoint_runs_no_code(tmp_path, capsys):
    path = tmp_path / "last.pt"
    torch.save({"model": Evil()}, path)
    with pytest.raises(ValueError, match=r"last.pt: found no readable checkpoint"):
        load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"last.pt: found no readable checkpoint"):
        load(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04truncated", b"\x80\x02a."])
def test_unreadable_checkpoints(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"last.pt: found no readable checkpoint"):
        load(path)
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        load(tmp_path / "other.pt")
    torch.save({"weights": 1}, path)
    with pytest.raises(ValueError, match=r"last.pt: model: found no such key, expected one, as in a checkpoint of cir"):
        load(path)


def test_another_architecture_is_described(tmp_path):
    with pytest.raises(ValueError, match=r"last.pt: holds another architecture than Linear: .*of another shape, such "
                                         r"as weight is \(3, 4\), expected \(3, 5\)"):  # fmt: skip
        load_module(nn.Linear(5, 3), nn.Linear(4, 3).state_dict(), tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"1 missing, such as bias"):
        load_module(nn.Linear(4, 3), nn.Linear(4, 3, bias=False).state_dict(), tmp_path / "last.pt")


def test_broken_json_names_the_file(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    (folder.path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: found no valid JSON"):
        folder.read_json("config.json")
    (folder.path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json: found list, expected a JSON object"):
        folder.read_json("config.json")
    (folder.path / "metrics.jsonl").write_text('{"step": 1}\n\0\0\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: found no valid JSON"):
        folder.read_metrics()
