"""The two tables of a store in PostgreSQL: made, recognised, indexed; and statements with their names put in.

Names of tables are the only thing that becomes part of a statement; they are letters, digits and underscores, and
quoted all the same. Values go beside it.
"""

from typing import Any

from circlet.vectors.addresses import PostgresAddress
from circlet.vectors.postgres_connection import Connection, load_psycopg
from circlet.vectors.servers import FORMAT, check_version, not_ours

_TABLE = {"key": "bytea", "seq": "bigint", "name": "text", "label": "text", "content": "text", "vector": "vector"}
_ABOUT = {"one": "boolean", "format": "integer", "dim": "integer", "next": "bigint", "meta": "text"}
_MAKING = 0x636972636C6574  # "circlet": who makes tables holds this lock
# A row may fill a page: else a vector of more than 500 numbers would lie in another table, in pieces.
_MAKE = """
CREATE TABLE {table} (key bytea PRIMARY KEY, seq bigint NOT NULL, name text NOT NULL, label text NOT NULL,
  content text NOT NULL, vector vector({dim}) NOT NULL) WITH (toast_tuple_target = 8160);
CREATE TABLE {about} (one boolean PRIMARY KEY DEFAULT true CHECK (one), format integer NOT NULL, dim integer NOT NULL,
  next bigint NOT NULL, meta text NOT NULL);
INSERT INTO {about} (format, dim, next, meta) VALUES ({format}, {dim}, 0, '{{}}')
"""


class Tables:
    """The names of a store's tables and index, and statements about them."""

    def __init__(self, address: PostgresAddress) -> None:
        identifier = load_psycopg().sql.Identifier
        schema = (address.schema,) if address.schema else ()
        self.names = {
            "table": identifier(*schema, address.table),
            "about": identifier(*schema, f"{address.table}_circlet"),
            "index": identifier(*schema, f"{address.table}_hnsw"),
            "bare_index": identifier(f"{address.table}_hnsw"),
        }

    def sql(self, statement: str, **literals: int) -> Any:
        """A statement with {table}, {about} and {index} put in, quoted; literals are whole numbers."""
        sql = load_psycopg().sql
        numbers = {name: sql.Literal(value) for name, value in literals.items()}
        return sql.SQL(statement).format(**self.names, **numbers)

    def is_there(self, cursor: Any, name: str) -> bool:
        """Whether a table or an index exists; one in sight, if no schema was named."""
        text = self.names[name].as_string(cursor)
        return bool(cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [text]).fetchone()[0])

    def columns(self, cursor: Any, name: str) -> dict[str, tuple[str, int]]:
        """Type and modifier of each column; {} where there is no such table."""
        found = cursor.execute(
            "SELECT attname::text, typname::text, atttypmod FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [self.names[name].as_string(cursor)],
        )
        return {column: (_WORDS.get(kind, kind), modifier) for column, kind, modifier in found}

    def is_indexed(self, cursor: Any) -> bool:
        """Whether there is an approximate index that is whole."""
        found = cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
                               [self.names["index"].as_string(cursor)]).fetchone()  # fmt: skip
        return found is not None and found[0]

    def look_at_all(self, cursor: Any) -> None:
        """Have the searches of this transaction look at every vector."""
        cursor.execute("SET LOCAL enable_indexscan = off")

    def go_through_index(self, cursor: Any, k: int) -> None:
        """Have the searches of this transaction go through the index, with enough candidates for k neighbours."""
        cursor.execute("SET LOCAL enable_indexscan = on")
        cursor.execute(f"SET LOCAL hnsw.ef_search = {min(max(100, 2 * k), 1000)}")

    def build_index(self, cursor: Any, m: int, ef_construction: int) -> None:
        """Make the approximate index anew."""
        cursor.execute(self.sql("DROP INDEX IF EXISTS {index}"))
        cursor.execute(self.sql("CREATE INDEX {bare_index} ON {table} USING hnsw (vector vector_ip_ops) "
                                "WITH (m = {m}, ef_construction = {ef})", m=m, ef=ef_construction))  # fmt: skip


_WORDS = {"int4": "integer", "int8": "bigint", "bool": "boolean"}


def make_tables(connection: Connection, address: PostgresAddress, dim: int) -> None:
    """Make both tables, and the extension pgvector, as far as they are not there."""
    tables = Tables(address)
    with connection.transaction() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKING])
        if cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
            _add_extension(cursor, address)
        if not tables.is_there(cursor, "table") and not tables.is_there(cursor, "about"):
            for statement in _MAKE.split(";"):
                cursor.execute(tables.sql(statement, dim=dim, format=FORMAT))
    connection.renew()


def found_dim(connection: Connection, address: PostgresAddress) -> int | None:
    """Numbers in a vector of the tables that are there; None without any, ValueError for those of somebody else."""
    tables = Tables(address)
    with connection.transaction() as cursor:
        about, table = tables.columns(cursor, "about"), tables.columns(cursor, "table")
        if not about and not table:
            return None
        if "format" not in about or "vector" not in table:
            not_ours(address.shown, "table")
        kinds = [{column: kind for column, (kind, _) in found.items()} for found in (about, table)]
        rows = cursor.execute(tables.sql("SELECT format FROM {about}")).fetchall()
        if len(rows) != 1:
            not_ours(address.shown, "table")
        check_version(address.shown, rows[0][0])
        if kinds != [_ABOUT, _TABLE]:
            not_ours(address.shown, "table")
        return int(table["vector"][1])


def _add_extension(cursor: Any, address: PostgresAddress) -> None:
    psycopg = load_psycopg()
    try:
        cursor.execute("CREATE EXTENSION vector")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
        raise ValueError(f"{address.shown}: found a server without pgvector, expected one with it: see "
                         "https://github.com/pgvector/pgvector") from None  # fmt: skip
    except psycopg.errors.InsufficientPrivilege:
        raise ValueError(f"{address.shown}: found a database without pgvector, and a user who may not add it, expected "
                         "an administrator to run CREATE EXTENSION vector there") from None  # fmt: skip
