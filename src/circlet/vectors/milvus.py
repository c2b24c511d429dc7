"""Vectors in Milvus: a file of milvus-lite, a server, or a cluster, by the same code.

    NAME          id (digest of the name), seq (order of addition), name, label, content, vector
    NAME_circlet  texts by id: "head" (format, dim, the next seq, which parts the settings have) and those parts

Up to EXACT_UP_TO vectors a search looks at every one (FLAT), above through HNSW; `search_quality` measures what that
loses. Milvus has no transactions: a put is cut into requests, and since the id of a row follows from its name, a put
that failed on the way and is repeated leaves nothing double. One process at a time should write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from circlet.vectors.addresses import milvus_address
from circlet.vectors.checks import (
    check_items,
    check_k,
    check_names,
    check_rows,
    check_writable,
    no_such_name,
    packed_meta,
)
from circlet.vectors.milvus_collections import About, Collections
from circlet.vectors.milvus_connection import Connection
from circlet.vectors.protocol import Floats, Hits, Item
from circlet.vectors.searching import SearchQuality
from circlet.vectors.server_quality import TRIALS, measured
from circlet.vectors.servers import check_dim, key, nothing_there, unpacked_meta

MAX_DIM = 32_768
MAX_K = 16_000  # Milvus has 16,384, some of which are looked at beyond k
EXACT_UP_TO = 200_000
_REQUEST_BYTES = 1 << 23
_SPARE = 8  # hits beyond k, to see who else is as near as the last one
_SAME = 4e-6  # similarities nearer than this may be in another order in exact arithmetic: those are compared again
_FIELDS = ["seq", "name", "label", "content"]


def open_milvus(location: str, dim: int | None, create: bool, read_only: bool) -> MilvusStore:
    """Open, or make with `create`, the collection of "milvus:PATH.db" or "http(s)://HOST:19530/COLLECTION"."""
    address = milvus_address(location)
    if create and (dim is None or not 2 <= dim <= MAX_DIM):
        raise ValueError(f"dim: found {dim}, expected 2 to {MAX_DIM}, which Milvus can hold")
    connection = Connection(address, create=create)
    try:
        collections = Collections(connection)
        about = collections.opened(dim if create else None)
        if about is None:
            nothing_there(address.shown, "collection")
        check_dim(address.shown, about.dim, dim)
        return MilvusStore(connection, collections, about, read_only)
    except BaseException:
        connection.close()
        raise


class MilvusStore:
    """A `Store` in a collection of Milvus; threads may share it. `location` has no password."""

    def __init__(self, connection: Connection, collections: Collections, about: About, read_only: bool) -> None:
        self.dim, self.location = about.dim, connection.address.shown
        self._connection, self._collections, self._read_only = connection, collections, read_only
        self._name = connection.address.collection

    def __len__(self) -> int:
        return self._collections.count()

    def meta(self) -> dict[str, Any]:
        """See `Store`."""
        return unpacked_meta(self._collections.read_meta(), self.location)

    def set_meta(self, meta: dict[str, Any]) -> None:
        """See `Store`."""
        text = packed_meta(meta)
        check_writable(self.location, self._read_only)
        self._collections.write_meta(text)

    def put(self, items: Sequence[Item], vectors: Floats) -> None:
        """See `Store`, but for "or nothing": requests are whole or absent, a put of several may end between two."""
        check_items(items)
        rows = check_rows("vectors", vectors, self.dim, len(items))
        check_writable(self.location, self._read_only)
        if not items:
            return
        ids = [key(item[0]).hex() for item in items]
        known = {each["id"]: each["seq"] for each in self._rows(ids, ["id", "seq"])}
        new = iter(self._collections.reserve(len(items) - len(known)))
        seqs = [known[each] if each in known else next(new) for each in ids]
        for some in self._cut(len(items), 4 * self.dim + 512):
            data = [{"id": ids[i], "seq": seqs[i], **Item(*items[i])._asdict(), "vector": rows[i]} for i in some]
            self._connection.call("upsert", self._name, data)
        self._collections.index_if_large(EXACT_UP_TO)

    def remove(self, names: Sequence[str]) -> int:
        """See `Store`."""
        ids = list(dict.fromkeys(key(name).hex() for name in check_names(names)))
        check_writable(self.location, self._read_only)
        there = [each["id"] for each in self._rows(ids, ["id"])]
        for some in self._cut(len(there), 64):
            self._connection.call("delete", self._name, ids=[there[i] for i in some])
        return len(there)

    def search(self, queries: Floats, k: int, *, exact: bool = False) -> Hits:
        """See `Store`; k at most MAX_K. Above EXACT_UP_TO vectors what HNSW finds, but `exact` fetches all of them."""
        rows = check_rows("queries", queries, self.dim)
        check_k(k)
        if k > MAX_K:
            raise ValueError(f"k: found {k}, expected at most {MAX_K}, which Milvus can find")
        similarity = np.full((len(rows), k), -np.inf, np.float32)
        items: list[list[Item]] = []
        for some in self._cut(len(rows), 4 * self.dim + 256 * k):
            through = self._among_all if exact and self._collections.is_indexed() else self._nearest
            for row, found in zip(some, through(rows[some], k), strict=True):
                items.append([Item(*(hit["entity"][name] for name in _FIELDS[1:])) for hit in found])
                similarity[row, : len(found)] = [hit["distance"] for hit in found]
        return Hits(similarity, items)

    def items(self) -> list[Item]:
        """See `Store`."""
        found = [each for page in self._collections.pages(["id", *_FIELDS]) for each in page]
        found.sort(key=lambda each: (each["seq"], each["id"]))
        return [Item(*(each[name] for name in _FIELDS[1:])) for each in found]

    def vectors(self, names: Sequence[str]) -> Floats:
        """See `Store`."""
        ids = [key(name).hex() for name in check_names(names)]
        found = np.empty((len(ids), self.dim), np.float32)
        rows = {each["id"]: each["vector"] for each in self._rows(list(dict.fromkeys(ids)), ["id", "vector"])}
        for index, each in enumerate(ids):
            if each not in rows:
                no_such_name(self.location, names[index])
            found[index] = rows[each]
        return found

    def search_quality(self) -> SearchQuality:
        """How a search finds neighbours and, through HNSW, the share of those that exact search finds."""
        found = self._connection.call("query", self._name, filter="", limit=TRIALS, output_fields=["name", "vector"])
        rows = np.array([each["vector"] for each in found], np.float32).reshape(-1, self.dim)
        return measured(self, [each["name"] for each in found], rows, approximate=self._collections.is_indexed(),
                        why=f"an index is made above {EXACT_UP_TO:,}")  # fmt: skip

    def __enter__(self) -> MilvusStore:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()

    def close(self) -> None:
        """See `Store`."""
        self._connection.close()

    def _nearest(self, queries: Floats, k: int) -> list[list[dict[str, Any]]]:
        """The k best hits of each query; "distance" is the similarity."""
        results: list[list[dict[str, Any]]] = [[] for _ in queries]
        todo, limit = np.arange(len(queries)), k + _SPARE
        while len(todo):
            found = self._connection.call("search", self._name, data=list(queries[todo]), limit=limit,
                                          anns_field="vector", output_fields=_FIELDS,
                                          search_params=self._collections.search_params(limit))  # fmt: skip
            unsure = []
            for row, hits in zip(todo.tolist(), found, strict=True):
                results[row] = [dict(hit) for hit in hits]
                if len(hits) == limit and hits[k - 1]["distance"] - hits[-1]["distance"] < _SAME:
                    unsure.append(row)  # there may be more that are as near as the last one
            if limit == MAX_K + _SPARE:
                break
            todo, limit = np.array(unsure, int), min(4 * limit, MAX_K + _SPARE)
        for query, hits in zip(queries, results, strict=True):
            self._settle(query, hits)
        return [hits[:k] for hits in results]

    def _among_all(self, queries: Floats, k: int) -> list[list[dict[str, Any]]]:
        """The k best hits of each query, by comparing it with every vector, here."""
        best: list[list[dict[str, Any]]] = [[] for _ in queries]
        for page in self._collections.pages(["id", *_FIELDS, "vector"]):
            rows = np.array([each["vector"] for each in page], np.float32)
            products = (queries.astype(np.float64) @ rows.astype(np.float64).T).astype(np.float32)
            few = np.argpartition(-products, min(k, len(page) - 1), axis=1)[:, : k + 1]
            for hits, near, product in zip(best, few.tolist(), products, strict=True):
                hits += [{"id": page[i]["id"], "entity": page[i], "distance": float(product[i])} for i in near]
                hits.sort(key=_ranking)
                del hits[k:]
        return best

    def _settle(self, query: Floats, hits: list[dict[str, Any]]) -> None:
        """Put hits in order: those too near to each other as exact products say, equal ones by order of addition."""
        scores = np.array([hit["distance"] for hit in hits])
        close = np.flatnonzero(np.abs(np.diff(scores)) < _SAME)
        if len(close) == 0:
            return
        unsure = sorted({*close.tolist(), *(close + 1).tolist()})
        rows = {each["id"]: each["vector"] for each in self._rows([hits[i]["id"] for i in unsure], ["id", "vector"])}
        for i in unsure:
            if (row := rows.get(hits[i]["id"])) is not None:  # else it has been removed meanwhile
                product = np.asarray(row, np.float32).astype(np.float64) @ query.astype(np.float64)
                hits[i]["distance"] = float(np.float32(product))
        hits.sort(key=_ranking)

    def _rows(self, ids: list[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        for some in self._cut(len(ids), (4 * self.dim if "vector" in fields else 0) + 256):
            yield from self._connection.call("get", self._name, ids=[ids[i] for i in some], output_fields=fields)

    @staticmethod
    def _cut(count: int, num_bytes: int) -> Iterator[range]:
        """Ranges of `count` rows that fit into a request each; Milvus also has limits on their number."""
        step = min(max(1, _REQUEST_BYTES // num_bytes), 4_096)
        for first in range(0, count, step):
            yield range(first, min(first + step, count))


def _ranking(hit: dict[str, Any]) -> tuple[float, int, str]:
    return -hit["distance"], hit["entity"]["seq"], hit["id"]
