"""`circlet serve`: what it says, and what it refuses, in one line each."""

import sys

import pytest

from circlet.cli import serve
from circlet.locks import FolderInUse
from circlet.serve.server import listen
from tests.serve.made_up import HOST, index, model, picture

TOKEN = "a-token-of-more-than-16"


@pytest.fixture
def letters(tmp_path):
    index(tmp_path).close()
    return tmp_path / "letters.index"


@pytest.fixture
def started(monkeypatch):
    """What the verb would serve: the application is used here instead."""
    from starlette.testclient import TestClient

    asked = []

    def instead(app, listening, *, ready, behind_proxy):
        ready()
        with TestClient(app, base_url=HOST) as client:
            asked.append((client.post("/api/items?label=x", content=picture(5)).status_code,
                          client.get("/api/about").json(), behind_proxy))  # fmt: skip

    monkeypatch.setattr("circlet.cli.serve.serve", instead)
    monkeypatch.setattr("circlet.inference.load_model", lambda *given, **options: model())
    return asked


def test_what_it_says_at_the_start(letters, started, capsys):
    serve.main([str(letters), "--model", "small", "--port", "0"])
    out = capsys.readouterr().out
    assert f"{letters}: 9 pictures of 3 classes, small; " in out
    assert f"small pictures of them into {letters}.enrolled" in out
    assert f"shows pictures from {letters.parent / 'photos'}, as the index says (--root: from elsewhere)" in out
    assert "open http://127.0.0.1:" in out
    assert started[0][0] == 201
    assert not (letters / ".lock").exists()


def test_read_only_and_beside_a_writer(letters, started, capsys):
    from circlet.index import Index

    with Index.open(letters, model()):
        with pytest.raises(FolderInUse, match="or look at it alone with --read-only"):
            serve.main([str(letters), "--model", "small", "--port", "0"])
        serve.main([str(letters), "--model", "small", "--port", "0", "--read-only", "--max-mib", "1"])
    assert (started[0][0], started[0][1]["max_mib"]) == (403, 1)
    assert "read only" in capsys.readouterr().out


def test_a_network_needs_a_token(letters, started, tmp_path):
    for more in (["--host", "0.0.0.0"], ["--behind-proxy"], ["--host", ""]):
        with pytest.raises(ValueError, match="token, expected one"):
            serve.main([str(letters), "--model", "small", "--port", "0", *more])
    (tmp_path / "token").write_text(TOKEN)
    serve.main(
        [str(letters), "--model", "small", "--port", "0", "--host", "0.0.0.0", "--token-file", str(tmp_path / "token")]
    )
    assert started[0][0] == 401
    with pytest.raises(ValueError, match="found --token-file too"):
        serve.main([str(letters), "--token", TOKEN, "--token-file", str(tmp_path / "token")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/nothing", "--port", "0"], "nothing"),
        (["{tmp}", "--port", "0"], "found"),
        (["{tmp}", "--port", "70000"], "--port: found 70000, expected 0 to 65535"),
        (["{tmp}", "--port", "0", "--token", "short"], "token: found 5 characters"),
        (["{tmp}", "--port", "0", "--token-file", "{tmp}/nothing"], "nothing"),
    ],
)
def test_what_is_refused(tmp_path, arguments, message):
    with pytest.raises((ValueError, OSError)) as caught:
        serve.main([each.format(tmp=tmp_path) for each in arguments])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_in_use(letters):
    with listen("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use by another process"):
        serve.main([str(letters), "--port", str(first.getsockname()[1])])


def test_without_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("circlet.serve", "circlet.cli.serve"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(ImportError, match=r"pip install 'circlet\[serve\]'"):
        import circlet.cli.serve  # noqa: F401


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        serve.main(["--help"])
    out = capsys.readouterr().out
    assert "circlet serve photos.index" in out
    assert "--max-megapixels" in out
