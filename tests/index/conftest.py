"""Nothing is kept in the cache of who runs the tests."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
