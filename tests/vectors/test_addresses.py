"""Addresses of databases: what is in them, and that no message and no shown address has a secret."""

import pytest

from circlet.vectors.addresses import milvus_address, postgres_address


@pytest.mark.parametrize(
    ("location", "shown", "schema", "table"),
    [
        ("postgresql://h/db", "postgresql://h/db#circlet", "", "circlet"),
        ("postgresql://me:pw@h:5433/db#Faces", "postgresql://me@h:5433/db#faces", "", "faces"),
        ("postgres://h1:1,h2:2/db#a.b", "postgresql://h1:1,h2:2/db#a.b", "a", "b"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db#circlet", "", "circlet"),
        ("postgresql:///db?host=/run/pg&password=pw", "postgresql:///db?host=/run/pg#circlet", "", "circlet"),
        ("postgresql://?service=photos#x", "postgresql://?service=photos#x", "", "x"),
    ],
)
def test_postgres(location, shown, schema, table):
    found = postgres_address(location)
    assert (found.shown, found.schema, found.table) == (shown, schema, table)
    assert found.conninfo == location.rpartition("#")[0] or found.conninfo == location
    assert ("pw" in found.secrets) == ("pw" in location)


@pytest.mark.parametrize(
    ("location", "uri", "token", "database", "collection"),
    [
        ("http://h:19530", "http://h:19530", "", "", "circlet"),
        ("https://me:pw@h/faces", "https://h", "me:pw", "", "faces"),
        ("https://k%2Fey@h:1/db/faces/", "https://h:1", "k/ey", "db", "faces"),
    ],
)
def test_milvus_server(location, uri, token, database, collection):
    found = milvus_address(location)
    assert (found.uri, found.path, found.token) == (uri, "", token)
    assert (found.database, found.collection) == (database, collection)
    assert "pw" not in found.shown
    assert "ey" not in found.shown.removeprefix("https://h")


def test_milvus_token_of_the_environment(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", "key")
    assert milvus_address("http://h/faces").token == "key"
    assert milvus_address("http://me:pw@h/faces").token == "me:pw"


@pytest.mark.parametrize("parse", [postgres_address, milvus_address])
@pytest.mark.parametrize(
    "rest",
    ["me:geheim#x@h/db", "me:geheim/x@h/db", "me:geheim@x@h/db", "me:geheim%zz@h/db", "me:geheim?x@h/db", "h:geheim/db",
     "[::1/geheim", "h/db#geheim-x"],
)  # fmt: skip
def test_nothing_is_shown_of_what_cannot_be_read(parse, rest):
    scheme = "postgresql" if parse is postgres_address else "http"
    with pytest.raises(ValueError, match=r"^location: found ") as error:
        parse(f"{scheme}://{rest}")
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize("location", ["milvus:", "milvus:.db", "milvus:photos", "milvus:a\0.db"])
def test_no_milvus_file(location):
    with pytest.raises(ValueError, match=r"expected milvus:PATH\.db"):
        milvus_address(location)
