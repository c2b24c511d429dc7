"""Vectors in PostgreSQL with pgvector: one table for the vectors, one of a single row for what is known of them.

    NAME         key (digest of the name), seq (order of addition), name, label, content, vector
    NAME_circlet format, dim, next (the next seq), meta (JSON)

A search looks at every vector, so it is exact; `build_index` makes an approximate index (HNSW), and `search_quality`
measures what that loses. A call is one transaction: all of it, or nothing. Writers take their turn at the one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from circlet.vectors.addresses import PostgresAddress, postgres_address
from circlet.vectors.checks import (
    check_items,
    check_k,
    check_names,
    check_rows,
    check_writable,
    no_such_name,
    packed_meta,
)
from circlet.vectors.postgres_connection import Connection
from circlet.vectors.postgres_tables import Tables, found_dim, make_tables
from circlet.vectors.protocol import Floats, Hits, Item
from circlet.vectors.searching import SearchQuality
from circlet.vectors.server_quality import TRIALS, measured
from circlet.vectors.servers import check_dim, key, nothing_there, unpacked_meta

MAX_DIM = 16_000
MAX_INDEXED_DIM = 2_000
MAX_APPROXIMATE_K = 500
_NAMES = 4_096  # looked up at a time


def open_postgres(location: str, dim: int | None, create: bool, read_only: bool) -> PostgresStore:
    """Open, or make with `create`, the table of "postgresql://USER@HOST/DATABASE#TABLE"; see `open_store`."""
    address = postgres_address(location)
    connection = Connection(address)
    try:
        if create:
            if dim is None or dim > MAX_DIM:
                raise ValueError(f"dim: found {dim}, expected 1 to {MAX_DIM}, which pgvector can hold")
            make_tables(connection, address, dim)
        found = found_dim(connection, address)
        if found is None:
            nothing_there(address.shown, "table")
        return PostgresStore(connection, address, check_dim(address.shown, found, dim), read_only)
    except BaseException:
        connection.close()
        raise


class PostgresStore:
    """A `Store` in a table of PostgreSQL; threads may share it, and take turns. `location` has no password."""

    def __init__(self, connection: Connection, address: PostgresAddress, dim: int, read_only: bool) -> None:
        self.dim, self.location = dim, address.shown
        self._connection, self._read_only = connection, read_only
        self._tables = Tables(address)

    def __len__(self) -> int:
        with self._connection.transaction() as cursor:
            return int(cursor.execute(self._tables.sql("SELECT count(*) FROM {table}")).fetchone()[0])

    def meta(self) -> dict[str, Any]:
        """See `Store`."""
        with self._connection.transaction() as cursor:
            return unpacked_meta(
                cursor.execute(self._tables.sql("SELECT meta FROM {about}")).fetchone()[0], self.location
            )

    def set_meta(self, meta: dict[str, Any]) -> None:
        """See `Store`."""
        text = packed_meta(meta)
        check_writable(self.location, self._read_only)
        with self._connection.transaction() as cursor:
            cursor.execute(self._tables.sql("UPDATE {about} SET meta = %s"), [text])

    def put(self, items: Sequence[Item], vectors: Floats) -> None:
        """See `Store`: one transaction."""
        check_items(items)
        rows = check_rows("vectors", vectors, self.dim, len(items))
        check_writable(self.location, self._read_only)
        if not items:
            return
        with self._connection.transaction() as cursor:
            reserve = self._tables.sql("UPDATE {about} SET next = next + %s RETURNING next")
            first = cursor.execute(reserve, [len(items)]).fetchone()[0] - len(items)
            cursor.executemany(self._tables.sql(_PUT), self._as_rows(items, rows, first))

    def _as_rows(self, items: Sequence[Item], rows: Floats, first: int) -> Iterator[tuple[Any, ...]]:
        for index, (item, row) in enumerate(zip(items, rows, strict=True)):
            yield key(item[0]), first + index, *item, row

    def remove(self, names: Sequence[str]) -> int:
        """See `Store`: one transaction."""
        keys = [key(name) for name in check_names(names)]
        check_writable(self.location, self._read_only)
        with self._connection.transaction() as cursor:
            cursor.execute(self._tables.sql("SELECT next FROM {about} FOR UPDATE"))  # writers take turns
            delete = self._tables.sql("DELETE FROM {table} WHERE key = ANY(%s)")
            return sum(cursor.execute(delete, [some]).rowcount for some in _cut(keys))

    def search(self, queries: Floats, k: int, *, exact: bool = False) -> Hits:
        """See `Store`. With an index what HNSW finds, unless `exact`, and for k up to MAX_APPROXIMATE_K."""
        rows = check_rows("queries", queries, self.dim)
        check_k(k)
        similarity = np.full((len(rows), k), -np.inf, np.float32)
        items: list[list[Item]] = []
        with self._connection.transaction() as cursor:
            approximate = not exact and k <= MAX_APPROXIMATE_K and self._tables.is_indexed(cursor)
            for row, query in enumerate(rows):
                found = self._nearest(cursor, query, k, approximate)
                items.append([Item(*each[:3]) for each in found])
                similarity[row, : len(found)] = [each[3] for each in found]
        return Hits(similarity, items)

    def _nearest(self, cursor: Any, query: Floats, k: int, approximate: bool) -> list[tuple[str, str, str, float]]:
        if approximate:
            self._tables.go_through_index(cursor, k)
            found = cursor.execute(self._tables.sql(_NEAR), {"query": query, "k": k}).fetchall()
            if len(found) == k:
                return list(found)  # else it was led astray by rows that are removed, or there are no more
        self._tables.look_at_all(cursor)
        return list(cursor.execute(self._tables.sql(_NEAREST), {"query": query, "k": k}).fetchall())

    def items(self) -> list[Item]:
        """See `Store`."""
        with self._connection.transaction() as cursor:
            found = cursor.execute(self._tables.sql("SELECT name, label, content FROM {table} ORDER BY seq")).fetchall()
        return [Item(*each) for each in found]

    def vectors(self, names: Sequence[str]) -> Floats:
        """See `Store`."""
        keys = [key(name) for name in check_names(names)]
        found = np.empty((len(keys), self.dim), np.float32)
        with self._connection.transaction() as cursor:
            select = self._tables.sql("SELECT key, vector FROM {table} WHERE key = ANY(%s)")
            for first, some in enumerate(_cut(keys)):
                rows = {bytes(each): vector.to_numpy() for each, vector in cursor.execute(select, [some])}
                for index, each in enumerate(some, first * _NAMES):
                    if each not in rows:
                        no_such_name(self.location, names[index])
                    found[index] = rows[each]
        return found

    def build_index(self, *, m: int = 16, ef_construction: int = 128) -> SearchQuality:
        """Make an approximate index (HNSW), which searches use from now on and later puts keep up to date; its worth.

        m: links of a vector, 2 to 100. ef_construction: candidates while building, at least 2 m. Raises ValueError for
        vectors of more than MAX_INDEXED_DIM numbers, which pgvector cannot index. Takes as long as it takes.
        """
        check_writable(self.location, self._read_only)
        if self.dim > MAX_INDEXED_DIM:
            raise ValueError(f"dim: found {self.dim}, expected at most {MAX_INDEXED_DIM} for an index of pgvector")
        if not 2 <= m <= 100 or not 2 * m <= ef_construction <= 1000:
            raise ValueError(f"m, ef_construction: found {m}, {ef_construction}, expected 2 to 100, and 2 m to 1000")
        with self._connection.transaction(answer_s=None) as cursor:
            self._tables.build_index(cursor, int(m), int(ef_construction))
        return self.search_quality()

    def drop_index(self) -> None:
        """Search exactly again."""
        check_writable(self.location, self._read_only)
        with self._connection.transaction() as cursor:
            cursor.execute(self._tables.sql("DROP INDEX IF EXISTS {index}"))

    def search_quality(self) -> SearchQuality:
        """How a search finds neighbours and, with an index, the share of those that exact search finds."""
        with self._connection.transaction() as cursor:
            approximate = self._tables.is_indexed(cursor)
            sample = self._tables.sql("SELECT name, vector FROM {table} ORDER BY key LIMIT %s")
            found = cursor.execute(sample, [TRIALS]).fetchall()
        rows = np.array([vector.to_numpy() for _, vector in found], np.float32).reshape(-1, self.dim)
        return measured(self, [name for name, _ in found], rows, approximate=approximate, why="there is no index")

    def __enter__(self) -> PostgresStore:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()

    def close(self) -> None:
        """See `Store`."""
        self._connection.close()


_PUT = """
INSERT INTO {table} AS old (key, seq, name, label, content, vector) VALUES (%s, %s, %s, %s, %s, %b)
ON CONFLICT (key) DO UPDATE SET label = EXCLUDED.label, content = EXCLUDED.content, vector = EXCLUDED.vector
WHERE (old.label, old.content, old.vector) IS DISTINCT FROM (EXCLUDED.label, EXCLUDED.content, EXCLUDED.vector)
"""  # one that is replaced keeps its seq, and what is the same already is not written again
_NEAREST = """
SELECT name, label, content, -distance FROM (
  SELECT name, label, content, seq, vector <#> %(query)b AS distance FROM {table} ORDER BY distance, seq LIMIT %(k)s
) AS nearest ORDER BY distance, seq
"""
_NEAR = _NEAREST.replace("distance, seq LIMIT", "distance LIMIT")  # in the order that the index has


def _cut(keys: list[bytes]) -> Iterator[list[bytes]]:
    for first in range(0, len(keys), _NAMES):
        yield keys[first : first + _NAMES]
