"""The benchmark measures equal work, says what it left out, and keeps what it has measured."""

import json

import pytest
import torch

from circlet.bench import Case, Results, machine, plot, table
from circlet.bench.cases import Data
from circlet.bench.contenders import FLOOR, _dense_loss, contenders
from circlet.bench.measure import Measured, Settings, time_all
from circlet.cli import main
from circlet.functional import circle_loss


@pytest.mark.parametrize("case", [Case(12, 8), Case(8, 6, 20), Case(8, 6, 20, "bf16")])
def test_contenders_compute_the_same_loss(case):
    data = Data(case)
    assert all(leaf.dtype == (torch.bfloat16 if case.dtype == "bf16" else torch.float32) for leaf in data.leaves)
    ours = circle_loss(data.x, data.labels, data.y, margin=0.25, gamma=256.0)
    torch.testing.assert_close(ours, _dense_loss(data.x, data.y, data.labels), rtol=1e-5, atol=1e-4)


def test_a_step_leaves_no_gradient_behind():
    data = Data(Case(12, 8, 5))
    calls = []

    def loss():
        calls.append(1)
        return data.x.sum() + data.y.sum()

    data.step(loss)()
    assert calls == [1]
    assert data.x.grad is None
    assert data.y.grad is None


def test_what_needs_too_much_is_left_out_and_said_so():
    found = contenders(Case(65536), 12_000)
    assert callable(found["circlet"])
    assert found["dense twin"] == "needs about 160 GiB"
    assert isinstance(found[FLOOR], str)


def test_every_contender_is_timed_or_has_a_reason():
    names = ("torch.compile of the dense twin",)
    times = time_all(Case(8, 4), Settings(steps=1, without=names))
    assert times["torch.compile of the dense twin"] == "left out"
    for name in ("circlet", FLOOR, "dense twin"):
        assert 0 < times[name] < 10


def filled(path=None):
    results = Results(path)
    for case in (Case(512), Case(80), Case(64, 8, 100)):
        rows = [Measured("circlet", 0.001, 2.0), Measured(FLOOR, 0.002, 4.0), Measured("big", reason="needs 9 GiB")]
        results.add(case, rows, machine(1))
    return results


def test_results_are_kept_and_replaced(tmp_path):
    path = tmp_path / "deep" / "bench.json"
    assert list(filled(path).cases) == ["pair B=80 D=512", "pair B=512 D=512", "class B=64 D=8 C=100"]
    again = Results(path)
    again.add(Case(80), [Measured("circlet", 0.5, 1.0)], machine(1))
    assert len(json.loads(path.read_text())) == 3
    assert again.cases["pair B=80 D=512"]["rows"][0]["seconds"] == 0.5
    again.add(Case(80, dtype="bf16", device="cuda"), [Measured("circlet", 0.1, 1.0)], machine(1))
    again.add(Case(80, dtype="bf16"), [Measured("circlet", 0.9, 1.0)], machine(1))
    assert again.cases["pair B=80 D=512 bf16 cuda"]["rows"][0]["seconds"] == 0.1


def test_broken_results_are_named(tmp_path):
    (tmp_path / "bench.json").write_text("{")
    with pytest.raises(ValueError, match=r"bench.json: found no valid JSON"):
        Results(tmp_path / "bench.json")


def test_table_gives_ratios_to_the_floor():
    text = table(filled())
    assert "| pair B=80 D=512 | circlet | 1.00 | 0.50 | 2 |" in text
    assert "| class B=64 D=8 C=100 | big | needs 9 GiB | | |" in text
    assert torch.__version__.split("+")[0] in text


def test_plot_has_a_row_for_each_level():
    figure = plot(filled())
    assert [axes.get_xlabel() for axes in figure.axes] == ["batch size"] * 2 + ["classes"] * 2
    assert len(figure.axes[0].lines) == 2


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--classes", "1"], ["--dim", "0"], ["--device", "gpu"]])
def test_bad_arguments(arguments, capsys):
    assert main(["bench", *arguments]) == 1
    assert "expected" in capsys.readouterr().err


@pytest.mark.subprocess
def test_the_verb_and_that_memory_is_that_of_the_matrix(tmp_path, capsys):
    without = ["circlet", "pytorch-metric-learning", "torch.compile of the dense twin"]
    arguments = ["--batch", "3000", "--dim", "4", "--steps", "1", "--threads", "1", "--device", "cpu"]
    assert main(["bench", *arguments, "--without", *without, "--out", str(tmp_path)]) == 0
    assert "pair B=3000 D=4  dense twin" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.md", "bench.png"}
    (case,) = json.loads((tmp_path / "bench.json").read_text()).values()
    rows = {row["contender"]: row for row in case["rows"]}
    assert rows["circlet"]["seconds"] is None
    matrix = 3000 * 3000 * 4 / 2**20
    assert 0.9 * matrix < rows[FLOOR]["extra_mib"] < 4 * matrix
    assert rows["dense twin"]["extra_mib"] > rows[FLOOR]["extra_mib"]
