"""The examples, run as a user would run them: what they print is what their docstrings say.

In this process, which has loaded PyTorch already, but for one that also shows that they run by themselves.
"""

import ast
import os
import re
import runpy
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tests.forks import Forked

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder; what it printed."""

    def run(name):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", [name])
        monkeypatch.syspath_prepend(ROOT / "examples")  # a run names what is in it by its module
        with torch.random.fork_rng(devices=[]):
            runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def numbers(pattern, text):
    return [float(number) for number in re.findall(pattern, text)]


def test_own_loss(run):
    out = run("own_loss.py")
    before, after = numbers(r"Recall@1 on held-out classes (\S+)", out)
    assert after > before + 0.2
    values = numbers(r"step \d+: loss (\S+)", out)
    assert len(values) == 4
    assert values == sorted(values, reverse=True)


def test_plain_pytorch(run):
    out = run("plain_pytorch.py")
    (before, after), values = numbers(r"MAP@R (\S+)", out), numbers(r"epoch \d+: loss (\S+)", out)
    assert after > before
    assert len(values) == 8
    assert values[-1] < values[0]


@pytest.mark.subprocess
def test_ddp_prints_the_same_for_one_process_and_two(run):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    ranks = [Forked(on_rank, "ddp.py", rank, port) for rank in "01"]
    (out, errors), (nothing, _) = [rank.communicate(120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    assert nothing == ""
    one, two = (numbers(r"step \d+: loss (\S+)", text) for text in (run("ddp.py"), out))
    assert len(one) == 5
    assert two == pytest.approx(one, rel=1e-3)
    assert one[-1] < one[0]


def on_rank(name, rank, port):
    """As torchrun --nproc-per-node 2 would."""
    warnings.simplefilter("error")
    os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_each_is_short_says_how_to_run_it_and_is_tested(path):
    source = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert len(source.splitlines()) <= 65
    assert re.search(rf"^Run: .*examples/{path.name}", docstring, flags=re.MULTILINE)
    assert re.search(r"^Prints: ", docstring, flags=re.MULTILINE)
    tests = [Path(__file__), Path(__file__).with_name("test_neighbours.py")]
    assert any(f'"{path.name}"' in test.read_text(encoding="utf-8") for test in tests)


def test_a_loss_of_your_own_needs_fifteen_lines():
    """The rule and the loss of own_loss.py, without blank lines."""
    tree = ast.parse((ROOT / "examples" / "own_loss.py").read_text(encoding="utf-8"))
    text = [ast.unparse(node) for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(text) == 2
    assert sum(bool(line.strip()) for part in text for line in part.splitlines()) <= 15


@pytest.mark.subprocess
def test_own_dataset_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "own_dataset.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trained(done.stdout, tmp_path)


@pytest.mark.subprocess  # which loads images
@pytest.mark.parametrize("name", ["own_backbone.py", "own_transform.py"])
def test_own_parts_are_trained_on(name, run, tmp_path):
    trained(run(name), tmp_path)


def trained(out, folder):
    (found,) = numbers(r"Recall@1 on held-out classes (\S+)", out)
    assert found > 0.2
    assert (folder / "runs" / "glyphs-1" / "result.json").is_file()
