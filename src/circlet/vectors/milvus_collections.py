"""The two collections of a store in Milvus: made, recognised, indexed; the settings and the counter in the second.

The settings are cut into parts, since Milvus holds 65,535 bytes in a text. A part is named by what is in it; the head,
one row that is replaced as a whole, says which parts count, so that a reader sees the old settings or the new ones.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any, cast

from circlet.typed import typed
from circlet.vectors.checks import MAX_TEXT_BYTES
from circlet.vectors.milvus_connection import BUILD_S, Connection, load_pymilvus
from circlet.vectors.servers import FORMAT, check_version, not_ours

_HEAD = "head"
_PART_CHARACTERS = 60_000
_FIELDS = {"id", "seq", "name", "label", "content", "vector"}
_AHEAD = 1 << 20  # numbers set aside at a time: gaps do no harm, and a request for every put would
_PAGE = 8_192


@dataclass(frozen=True)
class About:
    """The head: next is the first number that no row has; parts are the ids of the settings' parts."""

    format: int
    dim: int
    next: int
    parts: tuple[str, ...] = ()


class Collections:
    """What is done with the collections of a connection's address."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._name = connection.address.collection
        self._about_name = f"{self._name}_circlet"
        self._set_aside = range(0)
        self._indexed: bool | None = None

    def opened(self, dim: int | None) -> About | None:
        """Load what is there, or make it with a `dim`; None if there is nothing, ValueError if it is none of ours."""
        place, call = self._connection.address.shown, self._connection.call
        has = {name: call("has_collection", name) for name in (self._name, self._about_name)}
        if dim is None and not any(has.values()):
            return None
        if has[self._name] and not has[self._about_name]:
            not_ours(place, "collection")
        if not has[self._about_name]:
            self._make(self._about_name, {"text": 65_535}, 2)
        self._load(self._about_name, place, {"id", "text", "vector"}, 2)
        about = self.about()
        if about is None:  # it is new, or whoever made it was stopped
            if has[self._name]:
                not_ours(place, "collection")
            if dim is None:
                return None
            about = About(FORMAT, dim, 0)
            self._write({_HEAD: json.dumps(asdict(about))})
        if not has[self._name]:
            self._make(self._name, dict.fromkeys(("name", "label", "content"), MAX_TEXT_BYTES), about.dim)
        self._load(self._name, place, _FIELDS, about.dim)
        return about

    def about(self) -> About | None:
        """The head; None before it was written."""
        text = self._read([_HEAD]).get(_HEAD)
        if text is None:
            return None
        place = self._connection.address.shown
        try:
            found = json.loads(text)
            check_version(place, typed(dict[str, Any], found, "").get("format"))
            return cast(About, typed(About, found, "head"))
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(f"{place}: found a head that is no JSON, expected it as circlet writes it") from None
        except ValueError as error:
            raise ValueError(str(error) if str(error).startswith(place) else f"{place}: {error}") from None

    def reserve(self, count: int) -> range:
        """Numbers that no row has had, ascending."""
        if len(self._set_aside) < count:
            about = self._head()
            self._set_aside = range(about.next, about.next + max(count, _AHEAD))
            self._write({_HEAD: json.dumps(asdict(replace(about, next=self._set_aside.stop)))})
        taken, self._set_aside = self._set_aside[:count], self._set_aside[count:]
        return taken

    def read_meta(self) -> str:
        """The text of the settings."""
        for _ in range(3):  # whoever replaces them removes the old parts
            parts = self._head().parts
            texts = self._read(list(parts))
            if len(texts) == len(set(parts)):
                return "".join(texts[part] for part in parts) or "{}"
        raise ValueError(f"{self._connection.address.shown}: found settings with a part missing, expected all of them")

    def write_meta(self, text: str) -> None:
        """Replace the settings."""
        cut = [text[first : first + _PART_CHARACTERS] for first in range(0, len(text), _PART_CHARACTERS)]
        parts = tuple(blake2b(part.encode(), digest_size=16).hexdigest() for part in cut)
        about = self._head()
        self._write(dict(zip(parts, cut, strict=True)))
        self._write({_HEAD: json.dumps(asdict(replace(about, parts=parts)))})
        if old := sorted(set(about.parts) - set(parts)):
            self._connection.call("delete", self._about_name, ids=old)

    def count(self) -> int:
        """Number of rows."""
        found = self._connection.call("query", self._name, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def pages(self, fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        """All rows, some at a time, in no order."""
        with self._connection.explained():
            size = _PAGE if "vector" not in fields else 512
            pages = self._connection.call("query_iterator", self._name, batch_size=size, output_fields=fields)
            try:
                while page := pages.next():
                    yield list(page)
            finally:
                pages.close()

    def is_indexed(self) -> bool:
        """Whether searches are approximate."""
        if self._indexed is None:
            found = self._connection.call("describe_index", self._name, "vector") or {}
            self._indexed = found.get("index_type", "FLAT") != "FLAT"
        return self._indexed

    def search_params(self, limit: int) -> dict[str, Any]:
        """What a search for so many hits is told."""
        return {"metric_type": "IP", "params": {"ef": max(128, 2 * limit)} if self.is_indexed() else {}}

    def index_if_large(self, exact_up_to: int) -> None:
        """Have searches go through HNSW from now on if there are more rows; nothing else can be done meanwhile."""
        if not self.is_indexed() and self.count() > exact_up_to:
            self._connection.call("release_collection", self._name)
            self._connection.call("drop_index", self._name, "vector")
            self._index(self._name, "HNSW", {"M": 16, "efConstruction": 128})
            self._connection.call("load_collection", self._name, answer_s=BUILD_S)
            self._indexed = None

    def _head(self) -> About:
        about = self.about()
        if about is None:
            not_ours(self._connection.address.shown, "collection")
        return about

    def _make(self, name: str, texts: dict[str, int], dim: int) -> None:
        pymilvus = load_pymilvus()
        schema = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        kinds = pymilvus.DataType
        schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=64)
        if "name" in texts:
            schema.add_field("seq", kinds.INT64)
        for field, num_bytes in texts.items():
            schema.add_field(field, kinds.VARCHAR, max_length=num_bytes)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=dim)
        self._connection.call("create_collection", name, schema=schema, consistency_level="Strong", num_shards=1)

    def _load(self, name: str, place: str, fields: set[str], dim: int) -> None:
        found = self._connection.call("describe_collection", name)
        named = {field["name"]: field for field in found["fields"]}
        if named.keys() != fields or int(named["vector"]["params"].get("dim", 0)) != dim:
            not_ours(place, "collection")
        if not self._connection.call("list_indexes", name):
            self._index(name, "FLAT", {}, wait=False)
        self._connection.call("load_collection", name, answer_s=BUILD_S)
        self._connection.loaded.append(name)

    def _index(self, name: str, kind: str, params: dict[str, int], *, wait: bool = True) -> None:
        index = load_pymilvus().MilvusClient.prepare_index_params()
        index.add_index("vector", index_type=kind, metric_type="IP", params=params)
        self._connection.call("create_index", name, index, answer_s=BUILD_S, sync=wait)

    def _read(self, ids: list[str]) -> dict[str, str]:
        if not ids:
            return {}
        found = self._connection.call("get", self._about_name, ids=ids, output_fields=["id", "text"])
        return {each["id"]: each["text"] for each in found}

    def _write(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            self._connection.call("upsert", self._about_name, [{"id": name, "text": text, "vector": [1.0, 0.0]}])
