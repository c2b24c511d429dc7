"""circlet datasets: the list, the layout of one, and the check of a copy."""

import pytest

from circlet.cli import main
from circlet.data import DATA_SETS
from tests.data import miniature


def test_list_has_a_line_for_each(capsys):
    assert main(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *DATA_SETS]
    assert "12,936 / 3,368 / 19,732" in lines[1 + list(DATA_SETS).index("market1501")]
    assert main(["datasets", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("name", DATA_SETS)
def test_show(name, capsys):
    assert main(["datasets", "show", name]) == 0
    text = capsys.readouterr().out
    entry = DATA_SETS[name]
    assert all(part in text for part in (entry.title, entry.source, entry.licence, entry.layout))


def test_check_says_ok(capsys, monkeypatch):
    assert main(["datasets", "check", "glyphs", "--sample", "2"]) == 0
    assert capsys.readouterr().out == "glyphs: ok\n"


def test_check_says_what_is_wrong(capsys, tmp_path):
    miniature.write_cub200(tmp_path)
    assert main(["datasets", "check", "cub200", str(tmp_path), "--sample", "1"]) == 1
    shown = capsys.readouterr()
    assert f"{tmp_path}: found 12 train images, expected 5864" in shown.out
    assert "circlet datasets: cub200: found 4 problems" in shown.err
    next(tmp_path.rglob("*.jpg")).unlink()
    assert main(["datasets", "check", "cub200", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "found an image missing, 1 of the 24 listed" in shown.out
    assert "found 1 problem," in shown.err


def test_wrong_use(capsys):
    assert main(["datasets", "show", "market"]) == 1
    assert "found 'market', expected one of market1501" in capsys.readouterr().err
    assert main(["datasets", "check", "sop"]) == 1
    assert "path: found none" in capsys.readouterr().err
