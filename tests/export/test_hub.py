"""Push and pull over real HTTP, against a hub of the tests: what arrives is what was sent, whatever happens between."""

import json
import os
import socket
import sys

import pytest

import circlet
from circlet.export import export, pull, push
from circlet.export.hub import checked_repository, hub_errors
from circlet.inference import load_model
from tests.export.hub import TOKEN, Repository, cut_after, running_hub
from tests.export.made import make_run

NAME = "me/birds"


@pytest.fixture
def token(monkeypatch, tmp_path):
    """A token, and a library of the hub that asks nobody else."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", {})
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def hub(token, monkeypatch):
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def own_run(photos, tmp_path):
    return make_run(tmp_path / "run", photos)


@pytest.fixture
def pushed(hub, own_run):
    return push(load_model(own_run, device="cpu"), NAME)


def files_of(hub, name=NAME):
    return {path: content for path, (content, _) in hub.repositories[name].commits[-1][1].items()}


def test_there_and_back(hub, own_run, pushed, tmp_path, photos):
    model = load_model(own_run, device="cpu")
    assert pushed.files == ("model.safetensors", "export.json", "README.md")
    assert set(files_of(hub)) == set(pushed.files)
    done = pull(NAME, out=tmp_path / "birds")
    assert (done.files, done.commit, done.passed_over) == (("model.safetensors", "README.md", "export.json"),
                                                           pushed.commit, 0)  # fmt: skip
    assert circlet.load(done.folder / "model.safetensors").digest == model.digest
    for name in done.files:
        assert (done.folder / name).read_bytes() == (own_run / "export" / name).read_bytes()
    assert sorted(os.listdir(done.folder)) == ["README.md", "export.json", "model.safetensors", "pulled.json"]


def test_nothing_else_of_the_run_leaves(hub, own_run, pushed, photos):
    sent = b"".join(files_of(hub).values())
    for private in (str(photos), str(own_run), "class <b>"):
        assert private.encode() not in sent


def test_again_fetches_nothing_and_sends_the_changed(hub, own_run, pushed, tmp_path):
    pull(NAME, out=tmp_path / "birds")
    hub.asked.clear()
    pull(NAME, out=tmp_path / "birds")
    assert not [path for _, path, _ in hub.asked if "/resolve/" in path]
    (own_run / "export" / "README.md").write_text("---\nlicense: mit\n---\nmine\n")
    push(load_model(own_run, device="cpu"), NAME)
    assert files_of(hub)["README.md"] == b"---\nlicense: mit\n---\nmine\n"
    pull(NAME, out=tmp_path / "birds")
    assert (tmp_path / "birds" / "README.md").read_text().endswith("mine\n")


def test_an_older_revision(hub, own_run, pushed, tmp_path):
    hub.repositories[NAME].add({"model.safetensors": (b"newer", True)})
    done = pull(NAME, revision=pushed.commit, out=tmp_path / "old")
    assert circlet.load(done.folder / "model.safetensors").digest == load_model(own_run, device="cpu").digest
    with pytest.raises(OSError, match=f"{NAME}: found no revision 'v9', expected a branch, tag or commit"):
        pull(NAME, revision="v9", out=tmp_path / "v9")
    assert not (tmp_path / "v9").exists()


def test_what_was_exported_of_another_model_stays_here(hub, own_run, photos, tmp_path):
    (own_run / "export").mkdir()
    (own_run / "export" / "model.onnx").write_bytes(b"of somebody")
    done = push(load_model(own_run, device="cpu"), NAME)
    assert (done.left, "model.onnx" in done.files) == (("model.onnx",), False)
    record = json.loads((own_run / "export" / "export.json").read_text())
    assert set(record["files"]) == {"model.safetensors"}


def test_a_private_one(hub, own_run, tmp_path, monkeypatch):
    push(load_model(own_run, device="cpu"), NAME, private=True)
    assert hub.repositories[NAME].private
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(OSError, match=f"{NAME}: found no such model on http.*, or none that you may see"):
        pull(NAME, out=tmp_path / "out")


def test_private_is_a_promise(hub, own_run):
    hub.repositories[NAME] = Repository(private=False)
    with pytest.raises(OSError, match=f"{NAME}: is public already, expected a private one"):
        push(load_model(own_run, device="cpu"), NAME, private=True)
    assert files_of(hub) == {}


@pytest.mark.parametrize(
    ("name", "sent", "message"),
    [
        (
            NAME,
            "hf_wrong",
            r"does not know who you are \(401\), expected a token: set HF_TOKEN, or hf auth",
        ),
        ("others/birds", TOKEN, r"your token may not do that \(403\), expected one with the right to write"),
        (NAME, None, "found no token to write with, expected one in HF_TOKEN"),
    ],
)
def test_who_may_not_push(hub, own_run, monkeypatch, name, sent, message):
    if sent is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", sent)
    with pytest.raises(OSError, match=f"^{name}: .*{message}") as caught:
        push(load_model(own_run, device="cpu"), name)
    assert "\n" not in str(caught.value)
    assert hub.repositories == {}


def test_what_the_hub_answers_otherwise(hub, own_run, pushed, tmp_path):
    with pytest.raises(OSError, match=r"^me/nothing: found no such model on http"):
        pull("me/nothing", out=tmp_path / "out")
    hub.fail("/api/models/me/birds", lambda handler: handler.refuse(403, "GatedRepo"), times=1)
    with pytest.raises(OSError, match=r"^me/birds: may be read by those alone whom its owner lets in; ask at http"):
        pull(NAME, out=tmp_path / "out")
    hub.fail("/api/models/me/birds", lambda handler: handler.refuse(500), times=1)
    with pytest.raises(OSError, match=r"^me/birds: http.* answered 500 \(no\); try again later"):
        pull(NAME, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_network(own_run, tmp_path, monkeypatch, token):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        for work in (lambda: pull(NAME, out=tmp_path / "x"), lambda: push(load_model(own_run, device="cpu"), NAME)):
            with pytest.raises(OSError, match=r"^me/birds: http.* could not be reached \(.*\), expected a connection"):
                work()


def test_an_interrupted_pull_goes_on(hub, pushed, tmp_path):
    whole = files_of(hub)["model.safetensors"]
    cut = len(whole) // 3
    hub.fail("/resolve/", cut_after(cut), times=3)  # as often as one pull tries
    with pytest.raises(OSError, match=r"could not be reached .*; what was fetched is kept, and the same command"):
        pull(NAME, out=tmp_path / "birds")
    (part,) = (tmp_path / "birds").glob(".model.safetensors.*.download")
    have = part.stat().st_size
    assert 0 < have < len(whole)
    hub.asked.clear()
    done = pull(NAME, out=tmp_path / "birds")
    assert ("GET", f"/{NAME}/resolve/{pushed.commit}/model.safetensors", f"bytes={have}-") in hub.asked
    assert (done.folder / "model.safetensors").read_bytes() == whole
    assert not list(done.folder.glob(".*.download"))


def test_a_connection_that_breaks_once_is_not_noticed(hub, pushed, tmp_path):
    hub.fail("model.safetensors", cut_after(1000), times=2)
    done = pull(NAME, out=tmp_path / "birds")
    assert (done.folder / "model.safetensors").read_bytes() == files_of(hub)["model.safetensors"]


def test_a_hub_that_sends_no_parts(hub, pushed, tmp_path):
    hub.ranges = False
    hub.fail("model.safetensors", cut_after(1000), times=1)
    done = pull(NAME, out=tmp_path / "birds")
    assert (done.folder / "model.safetensors").read_bytes() == files_of(hub)["model.safetensors"]


@pytest.mark.parametrize("name", ["model.safetensors", "README.md"])
@pytest.mark.parametrize("change", [lambda raw: raw[:-1] + b"x", lambda raw: raw + b"more", lambda raw: raw[:-5]])
def test_content_with_another_checksum_is_thrown_away(hub, pushed, tmp_path, name, change):
    hub.fail(f"/{name}", lambda handler: handler.answer(200, change(files_of(hub)[name])))
    with pytest.raises(OSError, match=f"another checksum than the hub states|more than the .* bytes|{name}"):
        pull(NAME, out=tmp_path / "birds")
    assert not (tmp_path / "birds" / name).exists()


def test_only_the_files_that_it_may_have(hub, pushed, tmp_path):
    bad = {"../evil.py": b"1", "/etc/passwd": b"1", "train.py": b"import os", "model.safetensors/../x": b"1",
           "folder/model.onnx": b"1", ".gitattributes": b"*"}  # fmt: skip
    hub.repositories[NAME].add({name: (content, False) for name, content in bad.items()})
    hub.asked.clear()
    done = pull(NAME, out=tmp_path / "in" / "birds")
    assert done.passed_over == len(bad)
    assert set(os.listdir(done.folder)) == {*done.files, "pulled.json"}
    assert os.listdir(tmp_path / "in") == ["birds"]
    assert not [path for _, path, _ in hub.asked if any(name in path for name in ("evil", "train.py", "passwd"))]


def test_files_too_large_are_not_fetched(hub, pushed, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules["circlet.export.pulling"].MAX_BYTES, "README.md", 10)
    with pytest.raises(OSError, match=r"me/birds: found README.md of [0-9,]+ bytes, expected at most 10"):
        pull(NAME, out=tmp_path / "birds")
    assert not (tmp_path / "birds").exists()


def test_a_repository_without_a_model(hub, tmp_path):
    hub.repositories["me/empty"] = Repository()
    with pytest.raises(ValueError, match=r"me/empty: found none of model.safetensors, model.onnx, .*expected a model"):
        pull("me/empty", out=tmp_path / "out")


def test_a_file_of_ones_own_is_not_written_over(hub, pushed, tmp_path):
    folder = tmp_path / "birds"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match=r"README\.md: found another file than an earlier pull has left there"):
        pull(NAME, out=folder)
    assert sorted(os.listdir(folder)) == ["README.md"]
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        pull(NAME, out=folder)
    assert not (tmp_path / "elsewhere").exists()


def test_a_pulled_file_that_was_edited_is_kept(hub, own_run, pushed, tmp_path):
    done = pull(NAME, out=tmp_path / "birds")
    (done.folder / "README.md").write_text("edited")
    hub.repositories[NAME].add({"README.md": (b"newer", False)})
    with pytest.raises(FileExistsError, match="README"):
        pull(NAME, out=tmp_path / "birds")
    assert (done.folder / "README.md").read_text() == "edited"


NO_NAMES = ["birds", "me/", "/birds", "me/..", "../me", "me/a/b", "me/a--b", "me/.git", "m e/b", "", "me/b\n",
            "https://huggingface.co/me/b", "me/" + "a" * 97]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_that_cannot_be(name, own_run):
    for work in (pull, lambda name: push(load_model(own_run, device="cpu"), name)):
        with pytest.raises(ValueError, match=r"^repository: found .*, expected owner/name"):
            work(name)


def test_names_that_can():
    for name in ("me/birds", "My-Org/birds_1.0-b", "a/b", "me/b_"):
        assert checked_repository(name) == name


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"huggingface_hub is not installed; expected the extra: .*circlet\[hub\]"):
        pull(NAME)


def test_exports_go_with_it(hub, own_run, tmp_path):
    model = load_model(own_run, device="cpu")
    export(model)
    done = push(model, NAME, licence="mit")
    assert done.files == ("model.safetensors", "model.onnx", "export.json", "README.md")
    card = files_of(hub)["README.md"].decode()
    assert 'license: "mit"' in card
    assert "This model: mit, as its maker says." in card
    assert 'InferenceSession("model.onnx")' in card


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("Network error: 404 for url\n(http://hub/api/models/me/x/xet-write-token/main)"),
         r"me/x: http://hub could not be reached \(Network error: .*\), expected a connection, or HF_HUB_DISABLE_XET=1 "
         r"where that hub has no Xet; nothing was published$"),
        (RuntimeError("task panicked"), r"me/x: http://hub could not be reached \(task panicked\)"),
        (FileExistsError("a: found another file"), "^a: found another file$"),
    ],
)  # fmt: skip
def test_errors_of_the_upload_that_are_pythons_own_are_told(error, message):
    with pytest.raises(OSError, match=message), hub_errors("me/x", "http://hub", then="; nothing was published"):
        raise error
