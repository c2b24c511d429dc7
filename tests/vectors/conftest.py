"""A PostgreSQL server for the tests of a session that want one."""

import pytest

from tests.vectors.postgres_server import CannotRun, PostgresServer


@pytest.fixture(scope="session")
def postgres_server():
    try:
        server = PostgresServer()
    except CannotRun as reason:
        pytest.skip(f"no PostgreSQL: {reason}")
    yield server
    server.close()
