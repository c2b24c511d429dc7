"""Where the vectors of a database are: its address, taken apart, and the part of it that may be shown.

A password may stand in an address, so nothing of an address that cannot be understood is ever shown.
"""

import os
import re
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

TABLE = "circlet"
"""The table or collection where none is named."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")
_HOSTS = re.compile(r"((\[[0-9A-Fa-f:.%]+\]|[^\[\]:,@]*)(:\d{1,5})?)(,(\[[0-9A-Fa-f:.%]+\]|[^\[\]:,@]*)(:\d{1,5})?)*")
_HARMLESS = ("host", "hostaddr", "port", "user", "dbname", "service", "sslmode")


class PostgresAddress(NamedTuple):
    """conninfo: for libpq, with the password. shown: without. secrets: what no message may hold."""

    conninfo: str
    shown: str
    secrets: tuple[str, ...]
    schema: str
    table: str


class MilvusAddress(NamedTuple):
    """uri: of a server, "" for a file. path: of the file, "" for a server. token: USER:PASSWORD, a key, or ""."""

    uri: str
    path: str
    token: str
    database: str
    collection: str
    shown: str


def postgres_address(location: str) -> PostgresAddress:
    """The parts of "postgresql://USER@HOST/DATABASE#TABLE".

    >>> address = postgres_address("postgresql://me:secret@db.example/photos?sslmode=require#faces")
    >>> address.shown, address.schema, address.table
    ('postgresql://me@db.example/photos?sslmode=require#faces', '', 'faces')

    What stands before # is an address as psql takes it (a list of hosts, a socket's folder as ?host=, a service);
    what is left out comes from PGUSER, PGPASSWORD, ~/.pgpass and so on. TABLE or SCHEMA.TABLE is in lower case, as SQL
    reads a name without quotes; "circlet" if it is left out.
    """
    text, schema, table = location, "", TABLE
    if "#" in location and not set("@/?") & set(location.rpartition("#")[2]):
        text, _, name = location.rpartition("#")
        schema, _, table = name.lower().rpartition(".")
        if not _NAME.fullmatch(table) or (schema and not _NAME.fullmatch(schema)):
            raise ValueError("location: found a table that SQL would want in quotes, expected #TABLE or #SCHEMA.TABLE "
                             "of at most 50 letters, digits and underscores each")  # fmt: skip
    parts = _split(text, "postgresql://USER@HOST/DATABASE#TABLE")
    query = parse_qsl(parts.query, keep_blank_values=True)
    secrets = tuple(value for name, value in query if "password" in name and value)
    query = [(name, value) for name, value in query if name in _HARMLESS]
    shown = f"postgresql://{_user_at_host(parts)}{parts.path}{'?' + urlencode(query, safe='/:,') if query else ''}"
    secrets += tuple({unquote(parts.password), parts.password} if parts.password else ())
    return PostgresAddress(text, f"{shown}#{schema + '.' if schema else ''}{table}", secrets, schema, table)


def milvus_address(location: str) -> MilvusAddress:
    """The parts of "milvus:PATH.db" or "http(s)://USER:PASSWORD@HOST:PORT[/DATABASE]/COLLECTION".

    >>> milvus_address("http://root:secret@localhost:19530/photos").shown
    'http://localhost:19530/photos'
    >>> milvus_address("milvus:photos.db").path
    'photos.db'

    A key or USER:PASSWORD may stand in the environment, as MILVUS_TOKEN. The collection is "circlet" if it is left out.
    """
    if location.startswith("milvus:"):
        path = location.removeprefix("milvus:")
        if not path.endswith(".db") or path == ".db" or "\0" in path:
            raise ValueError("location: found no name that ends in .db after milvus:, expected milvus:PATH.db")
        return MilvusAddress("", path, "", "", TABLE, location)
    parts = _split(location, "http(s)://HOST:19530/COLLECTION")
    names = [name for name in parts.path.split("/") if name]
    if len(names) > 2 or parts.query or parts.fragment or not all(_NAME.fullmatch(name) for name in names):
        raise ValueError("location: found something else than a collection after the host, expected "
                         "http(s)://HOST:19530/COLLECTION or .../DATABASE/COLLECTION, each of at most 50 letters, "
                         "digits and underscores")  # fmt: skip
    database = names[0] if len(names) == 2 else ""
    collection = names[-1] if names else TABLE
    hosts = parts.netloc.rpartition("@")[2]
    token = ":".join(unquote(each) for each in (parts.username, parts.password) if each)
    path = "".join(f"/{name}" for name in (database, collection) if name)
    return MilvusAddress(f"{parts.scheme}://{hosts}", "", token or os.environ.get("MILVUS_TOKEN", ""), database,
                         collection, f"{parts.scheme}://{hosts}{path}")  # fmt: skip


def _split(text: str, expected: str) -> SplitResult:
    """The parts of a URL, or a ValueError that shows nothing of it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"location: found an address that cannot be read, expected {expected}") from None
    account, _, hosts = parts.netloc.rpartition("@")
    if "@" in account or "@" in parts.path or re.search(r"%(?![0-9A-Fa-f]{2})", parts.netloc + parts.path):
        raise ValueError(f"location: found an @, / or % that stands for itself, expected {expected} with %40, %2F or "
                         "%25 in a name or password")  # fmt: skip
    if not _HOSTS.fullmatch(hosts):
        raise ValueError(f"location: found no host and port that can be read, expected {expected}")
    return parts


def _user_at_host(parts: SplitResult) -> str:
    account, at, hosts = parts.netloc.rpartition("@")
    return f"{account.partition(':')[0]}{at}{hosts}"
