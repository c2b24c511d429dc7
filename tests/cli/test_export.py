"""`circlet export`, `push` and `pull` as somebody uses them."""

# ruff: noqa: F811  (fixtures that are imported)

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import circlet
from circlet.cli.export import main as export
from circlet.cli.pull import main as pull
from circlet.cli.push import main as push
from tests.export.made import make_run, photos, run  # noqa: F401
from tests.export.test_hub import hub, token  # noqa: F401

BARE = """
import sys
code = open(sys.argv[1]).read().replace("photo.jpg", sys.argv[2])
space = {}
exec(code, space)
assert not {"torch", "circlet"} & set(sys.modules)
space["np"].save(sys.argv[3], space["rows"])
"""


@pytest.fixture
def own_run(photos, tmp_path):
    return make_run(tmp_path / "own", photos)


@pytest.mark.subprocess
def test_a_run_and_then_onnxruntime_alone(own_run, photos, tmp_path, capsys):
    export([str(own_run)])
    told = capsys.readouterr().out
    assert re.match(r"as the model to \S+ on 16 test images of the run, by onnxruntime\n", told)
    assert f"{own_run}/export/model.onnx: " in told
    card = (own_run / "export" / "README.md").read_text()
    (tmp_path / "code.py").write_text(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[-1])
    (tmp_path / "bare.py").write_text(BARE)
    photo = next(photos.rglob("1.png"))
    out = tmp_path / "rows.npy"
    subprocess.run([sys.executable, "-P", tmp_path / "bare.py", tmp_path / "code.py", photo, out], check=True,
                   cwd=own_run / "export")  # fmt: skip
    expected = circlet.load(own_run, device="cpu").embed(photo, show_progress=False)
    np.testing.assert_allclose(np.load(out), expected, atol=1e-5)


def test_eight_bits_and_their_cost(own_run, capsys):
    export([str(own_run), "--int8"])
    told = capsys.readouterr().out
    way = r"eight bits \(static, .*; cosine to the model's vectors [01]\.\d+\)"
    assert re.search(way + r": Recall@1 \S+ to \S+ \([+-]\S+\), MAP@R .* on the test classes", told)
    assert "model-int8.onnx: " in told


def test_one_file_for_circlet(own_run, tmp_path, capsys):
    export([str(own_run), "--to", "safetensors", "--out", str(tmp_path / "it.safetensors"), "--licence", "mit"])
    assert "it.safetensors: " in capsys.readouterr().out
    assert circlet.load(tmp_path / "it.safetensors").digest == circlet.load(own_run).model.digest
    assert 'license: "mit"' in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("edited")
    export([str(tmp_path / "it.safetensors"), "--to", "safetensors", "--out", str(tmp_path / "again.safetensors")])
    assert "README.md: stays as it was" in capsys.readouterr().out


def test_to_the_hub_and_back(hub, own_run, tmp_path, capsys):
    push([str(own_run), "me/birds", "--private"])
    told = capsys.readouterr().out
    assert re.search(r"/me/birds: model.safetensors, export.json, README.md, commit [0-9a-f]{8}\n", told)
    hub.repositories["me/birds"].add({"\x1b[2J.py": (b"", False)})
    pull(["me/birds", "--out", str(tmp_path / "birds")])
    told = capsys.readouterr().out
    assert "; 1 others were passed over" in told
    assert "\x1b" not in told
    assert json.loads((tmp_path / "birds" / "pulled.json").read_text())["repository"] == "me/birds"
    assert circlet.load(tmp_path / "birds" / "model.safetensors").digest == circlet.load(own_run).model.digest


@pytest.mark.parametrize("verb", [export, push, pull])
def test_help_has_an_example(verb, capsys):
    with pytest.raises(SystemExit):
        verb(["--help"])
    name = verb.__module__.rpartition(".")[2]
    assert f"circlet {name} " in capsys.readouterr().out
