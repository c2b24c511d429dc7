"""Downloads: whole and checked, or nothing; https and whole checksums alone."""

import hashlib
import os
import re
import urllib.request
from http.client import HTTPException, IncompleteRead
from pathlib import Path

import pytest

from circlet.download import DownloadError, _HttpsOnly, cache_dir, download, sha256_of
from tests.web import Response, serve

CONTENT = b"weights" * 30_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def asked(tmp_path, monkeypatch):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "net.pth").write_bytes(CONTENT)
    return serve(tmp_path / "web", monkeypatch)


def test_a_file_is_fetched_once(asked, tmp_path, capsys):
    path = tmp_path / "cache" / "deep" / "net.pth"
    for _ in range(2):
        download("https://web/net.pth", path, SHA256)
    assert path.read_bytes() == CONTENT
    assert sha256_of(path) == SHA256
    assert asked == ["https://web/net.pth"]
    assert os.listdir(path.parent) == ["net.pth"]
    assert path.stat().st_mode & 0o777 == 0o644  # a cache may be shared
    assert capsys.readouterr().err == ""  # no bar where there is no terminal


def test_a_damaged_copy_is_fetched_again(asked, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(CONTENT[:-10])
    download("https://web/net.pth", path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("failure", [ConnectionResetError("reset"), IncompleteRead(b""), HTTPException("odd"), None])
def test_a_failure_leaves_what_was_there(asked, tmp_path, monkeypatch, failure):
    """Broken off in the middle, or another file: the old copy stays and nothing else."""

    class Broken(Response):
        def read(self, size=-1):
            if failure is not None and self.tell() > 0:
                raise failure
            return super().read(size)

    monkeypatch.setattr("circlet.download._open", lambda url: Broken(CONTENT[:-1]))
    path = tmp_path / "net.pth"
    path.write_bytes(b"old")
    message = "the download failed" if failure else f"found a file with SHA-256 [0-9a-f]{{64}}, expected {SHA256}"
    with pytest.raises(DownloadError, match=rf"^https://web/net.pth: {message}"):
        download("https://web/net.pth", path, SHA256)
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["net.pth", "web"]


@pytest.mark.parametrize("url", ["http://web/net.pth", "file:///net.pth", "ftp://web/net.pth", "net.pth", "HTTPS//"])
def test_other_than_https_is_refused(asked, tmp_path, url):
    with pytest.raises(
        ValueError, match=rf"^url: found '{re.escape(url)}', expected an address that begins with https"
    ):
        download(url, tmp_path / "net.pth", SHA256)
    assert asked == []


@pytest.mark.parametrize("sha256", ["", SHA256[:8], SHA256[:-1], SHA256.upper(), SHA256 + "0"])
def test_less_than_the_whole_checksum_is_refused(asked, tmp_path, sha256):
    with pytest.raises(ValueError, match=r"^sha256: found .*, expected all 64 hexadecimal digits"):
        download("https://web/net.pth", tmp_path / "net.pth", sha256)
    assert asked == []


def test_a_redirection_must_not_leave_https():
    request = urllib.request.Request("https://web/net.pth")
    follow = _HttpsOnly().redirect_request
    moved = follow(request, None, 302, "Found", {}, "https://elsewhere/net.pth")
    assert moved.full_url == "https://elsewhere/net.pth"
    with pytest.raises(DownloadError, match=r"found a redirection to http://elsewhere/net\.pth, expected one to https"):
        follow(request, None, 302, "Found", {}, "http://elsewhere/net.pth")


def test_a_disk_that_cannot_be_written_names_the_file(asked, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        download("https://web/net.pth", tmp_path / "file" / "net.pth", SHA256)


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.delenv("CIRCLET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "circlet"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == Path.home() / ".cache" / "circlet"
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
