"""Stores of vectors and their neighbours: a folder, Milvus, or PostgreSQL, behind one small protocol.

`open_store(location)` opens one. Knows nothing of images or networks; `circlet.index` does.

| file                | what it is                                                                        |
|---------------------|-----------------------------------------------------------------------------------|
| protocol            | Store, Item, Hits: what every store does                                          |
| checks              | what a store is given, checked at its edge                                        |
| embedded            | the store that needs no server: a folder, one writer, any number of readers       |
| manifest            | its one small file that says which others count                                   |
| segment             | a file of vectors, written whole, memory-mapped, with checksums                   |
| journal, tail       | what was added since, on the disk and in memory                                   |
| state               | which rows count                                                                  |
| folder, rewriting   | opening and tidying its folder; from one state to the next                        |
| holding, opening, texts | the lock; opening files; items as bytes                                       |
| searching           | exactly, or through the index as far as that was measured to be enough            |
| exact, best         | exact neighbours in tiles; the k best of each query so far                        |
| approximate         | the index of a large segment, by faiss                                            |
| parquet, merging    | any store as a Parquet file, and back; one store into another                     |
| milvus*             | a Milvus file or server                                                           |
| postgres*           | a table of PostgreSQL with pgvector                                               |
| addresses, servers, server_quality | what these two share                                               |
"""

from pathlib import Path

from circlet.vectors.protocol import Floats, Hits, Item, Store

__all__ = ["Floats", "Hits", "Item", "Store", "open_store"]


def open_store(location: str | Path, dim: int | None = None, *, create: bool = False, read_only: bool = False) -> Store:
    """Open a store, or make one with `create`; what is there already is opened all the same.

    location: a folder, "milvus:PATH.db", "http(s)://HOST:19530[/COLLECTION]" (Milvus) or "postgresql://..." (pgvector).
    dim: numbers in a vector; needed to make a store, else compared with that of the store.
    read_only: needs no right to write, takes no lock, and sees what was there when it was opened.

    Raises ValueError or OSError with one line: nothing there, no store, of another version, cut off, being written by
    another process, another `dim`; ConnectionError for a server that is down; ImportError names the extra to install.
    """
    text = str(location)
    if not text:
        raise ValueError("location: found nothing, expected a folder or the address of a server")
    if dim is not None and dim < 1:
        raise ValueError(f"dim: found {dim}, expected at least 1")
    if create and dim is None:
        raise ValueError("dim: found None, expected the numbers in a vector, to make a store")
    if create and read_only:
        raise ValueError("read_only: found True with create, expected one of them")
    if text.startswith(("milvus:", "http://", "https://")):
        from circlet.vectors.milvus import open_milvus

        return open_milvus(text, dim, create, read_only)
    if text.startswith(("postgresql://", "postgres://")):
        from circlet.vectors.postgres import open_postgres

        return open_postgres(text, dim, create, read_only)
    from circlet.vectors.embedded import open_embedded

    return open_embedded(text, dim, create, read_only)
