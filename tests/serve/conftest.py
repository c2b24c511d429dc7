"""The service of a small index, in this process."""

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from circlet.serve import create_app
from tests.serve.made_up import HOST, index


@pytest.fixture
def letters(tmp_path):
    with index(tmp_path) as made:
        yield made


@pytest.fixture
def served(letters):
    """A function: served(**options of create_app) -> client; `client.lines` is the log."""
    from starlette.testclient import TestClient

    opened = []

    def serve(**options):
        lines = []
        client = TestClient(
            create_app(letters, log=lines.append, **options), base_url=HOST, raise_server_exceptions=True
        )
        client.__enter__()
        client.lines = lines
        opened.append(client)
        return client

    yield serve
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(served):
    return served()
