"""The tutorial's commands on other photographs, one after the other: as a newcomer copies them."""

import pytest

from docs.hooks.blocks import DOCS, blocks, commands, sessions
from tests.docs.conftest import photo, run
from tests.docs.test_pages import WRONG


@pytest.mark.slow
@pytest.mark.subprocess
def test_from_a_folder_to_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    for number in range(48):
        photo(tmp_path / "photos" / f"class {number // 6}" / f"{number % 6}.jpg", number)
    photo(tmp_path / "query.jpg", 50)
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    for block in blocks(page[: page.index(WRONG)]):
        if block.language == "console":
            for session in sessions(block.text):
                (words,) = commands(session.command)
                assert f"circlet {words[0]}:" not in run(*words), session.command
    assert (tmp_path / "runs" / "folder-1" / "result.json").is_file()
    assert (tmp_path / "mine.index").is_dir()
