"""A store made ready to be searched fast once much of it is new; and how well it is searched, by its own vectors."""

from typing import Protocol, runtime_checkable

from circlet.vectors import Store
from circlet.vectors.embedded import EmbeddedStore
from circlet.vectors.searching import SearchQuality

MUCH = 0.1  # share of the images: to write all vectors again for a few would take longer than to embed these


@runtime_checkable
class _Measured(Protocol):
    def search_quality(self) -> SearchQuality:
        """How a search finds neighbours."""


def make_ready(store: Store, num_changed: int) -> str:
    """Let a store index its vectors if they are many, where much has changed; a sentence on search, "" where not.

    The sentence has the share of the nearest neighbours that an approximate search finds. num_changed: images that were
    put since it was made ready.
    """
    if not num_changed or num_changed < MUCH * len(store):
        return ""
    if isinstance(store, EmbeddedStore):
        store.compact()
    return store.search_quality().sentence if isinstance(store, _Measured) else ""
