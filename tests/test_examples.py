"""The examples, run as a user would run them: what they print is what their docstrings say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]  # standalone: takes a free port


def run(name, *before):
    command = [sys.executable, "-W", "error", *before, f"examples/{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(pattern, text):
    return [float(number) for number in re.findall(pattern, text)]


@pytest.mark.subprocess
def test_own_loss():
    out = run("own_loss.py")
    before, after = numbers(r"Recall@1 on held-out classes (\S+)", out)
    assert after > before + 0.2
    values = numbers(r"step \d+: loss (\S+)", out)
    assert len(values) == 4
    assert values == sorted(values, reverse=True)


@pytest.mark.subprocess
def test_plain_pytorch():
    out = run("plain_pytorch.py")
    (before, after), values = numbers(r"MAP@R (\S+)", out), numbers(r"epoch \d+: loss (\S+)", out)
    assert after > before
    assert len(values) == 8
    assert values[-1] < values[0]


@pytest.mark.subprocess
def test_ddp_prints_the_same_for_one_process_and_two():
    one, two = (numbers(r"step \d+: loss (\S+)", run("ddp.py", *launcher)) for launcher in ([], TORCHRUN))
    assert len(one) == 5
    assert two == pytest.approx(one, rel=1e-3)
    assert one[-1] < one[0]


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
@pytest.mark.parametrize("name", ["own_dataset.py", "own_backbone.py", "own_transform.py"])
def test_own_parts_are_trained_on(name, tmp_path):
    command = [sys.executable, str(ROOT / "examples" / name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = numbers(r"Recall@1 on held-out classes (\S+)", done.stdout)
    assert found > 0.2
    assert (tmp_path / "runs" / "glyphs-1" / "result.json").is_file()
