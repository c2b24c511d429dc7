"""A run that is started again: by torchrun after a rank has died, by a cluster with the same command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from circlet.cli import main
from circlet.cli.resume import goes_on
from tests.cli.ranks import verb_on_ranks
from tests.cli.test_cli import SMALL, in_empty_folder, photos  # noqa: F401

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
STEPS = 60
LONG = ["--steps", str(STEPS), "--loop.checkpoint-every", "10", "--loop.log-every", "3", "--loss.level", "joint"]


def steps_logged(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def ranks_of(launcher):
    """Processes that it has started, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (path / "environ").read_bytes()
        except OSError:
            continue
        if parent == launcher and b"\0RANK=" in environment:
            found[int(environment.partition(b"\0RANK=")[2].partition(b"\0")[0])] = int(path.name)
    return found


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_rank_that_is_killed_is_started_again_and_the_run_ends_as_if_nothing_had_happened(photos, tmp_path):  # noqa: F811
    arguments = ["train", "scratch", "--root", str(photos), *SMALL, *LONG, "--no-report"]
    verb_on_ranks(2, [*arguments, "--run-dir", "whole"])
    command = [*TORCHRUN, "-m", "circlet", *arguments, "--run-dir", "cut"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    for _ in range(15_000):  # five minutes: a machine may be busy
        if (tmp_path / "cut" / "last.pt").exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    before = steps_logged(tmp_path / "cut")
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("run folder: cut") == 2  # once a start
    assert max(before) < STEPS
    states = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "cut")]
    assert states[0]["step"] == states[1]["step"] == STEPS
    for key, value in states[0]["model"].items():
        torch.testing.assert_close(states[1]["model"][key], value)
    assert steps_logged(tmp_path / "cut") == steps_logged(tmp_path / "whole")
    tests = [json.loads((tmp_path / name / "result.json").read_text())["test"] for name in ("whole", "cut")]
    assert tests[1] == pytest.approx(tests[0])


def test_the_same_command_goes_on_with_the_run(photos, tmp_path, capsys):  # noqa: F811
    command = ["train", "scratch", "--root", str(photos), "--run-dir", "again", "--no-report", *SMALL]
    assert main([*command, "--go-on"]) == 0  # nothing there yet
    saved = (tmp_path / "again" / "last.pt").read_bytes()
    capsys.readouterr()
    assert main([*command, "--go-on"]) == 0
    assert "run folder: again" in capsys.readouterr().out
    assert torch.load(tmp_path / "again" / "last.pt", weights_only=True)["step"] == 12
    assert len(saved)
    assert main(command) == 1  # as ever without it
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert main([*command, "--go-on", "--batch.samples", "2"]) == 1
    assert "batch.samples: found 2 for a run that began with 3" in capsys.readouterr().err


def test_torchrun_that_may_restart_asks_for_a_run_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert main(["train", "glyphs"]) == 1
    assert "--run-dir: found none with torchrun --max-restarts, expected one" in capsys.readouterr().err
    assert not goes_on(tmp_path, asked=False)
    (tmp_path / "config.json").write_text("{}")
    assert goes_on(tmp_path, asked=False)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert not goes_on(tmp_path, asked=False)
    assert goes_on(tmp_path, asked=True)
    assert main(["train", "glyphs", "--go-on"]) == 1
    assert "--run-dir: found none with --go-on, expected one" in capsys.readouterr().err
