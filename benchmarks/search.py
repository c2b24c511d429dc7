"""Search of a million vectors: exact and approximate, time, memory, opening and recall, beside faiss and usearch.

    python benchmarks/search.py --work /tmp/search [--vectors 1000000] [--dim 512] [--threads 2] [--only circlet ...]

The vectors are drawn, in classes as embeddings are: 1,000 groups of 50 classes of 20 images (at a million). A class
centre is its group's plus as much of its own, an image its class's centre plus noise, all with a spectrum that falls as
i^-0.3 over directions that are rotated at random; then rows of length 1. Two images of a class have a cosine of about
.6, of two classes of a group .3. Queries are other images of the same classes. They lie in a file, as does what each
contender makes of them (in --work, and used again); each is searched in a process of its own: one query (median of 30),
batches of 100 (median of 5), and recall@10 of 200 queries against exact search. Memory is what the process has in
memory above what it had before it opened anything, its file mappings included. Building is timed when it happens.
Writes benchmarks/results/search.{json,csv,md}; contenders that are not run again are kept.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circlet.environment import machine
from circlet.vectors import Item, open_store

RESULTS = Path(__file__).parent / "results" / "search.json"
PACKAGES = ("circlet", "torch", "numpy", "faiss-cpu", "usearch")
PER_CLASS, CLASSES_IN_A_GROUP, QUERIES, K = 20, 50, 200, 10
BLOCK = 20_000
Search = Callable[[Any, np.ndarray], np.ndarray]
# What it is; how it is built; its files; how it is opened; how it is searched.
Contender = tuple[str, Callable[[Path], None] | None, str, Callable[[Path], Any], Search]


def drawn(count: int, dim: int) -> Iterator[np.ndarray]:
    """Blocks of rows of some images of each class, in the order of their classes; the last block are queries."""
    random = np.random.default_rng(0)
    spectrum = (1 + np.arange(dim, dtype=np.float32)) ** -0.3
    spectrum /= np.linalg.norm(spectrum)
    turned = np.linalg.qr(random.standard_normal((dim, dim)))[0].astype(np.float32) * spectrum[:, None]
    classes = max(count // PER_CLASS, 1)
    groups = random.standard_normal((-(-classes // CLASSES_IN_A_GROUP), dim), np.float32)
    centres = (
        groups[np.arange(classes) // CLASSES_IN_A_GROUP] + random.standard_normal((classes, dim), np.float32)
    ) / 2**0.5

    def rows(of: np.ndarray) -> np.ndarray:
        found = (centres[of] + 0.8 * random.standard_normal((len(of), dim), np.float32)) @ turned
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    for first in range(0, count, BLOCK):
        yield rows(np.arange(first, min(first + BLOCK, count)) // PER_CLASS)
    yield rows(random.integers(0, classes, QUERIES))


def make_data(work: Path, count: int, dim: int) -> None:
    """vectors.npy, queries.npy and truth.npy, unless they are there."""
    if (work / "truth.npy").exists() and np.load(work / "vectors.npy", mmap_mode="r").shape == (count, dim):
        return
    work.mkdir(parents=True, exist_ok=True)
    vectors = np.lib.format.open_memmap(work / "vectors.npy", "w+", np.float32, (count, dim))
    queries = fill(vectors)
    np.save(work / "queries.npy", queries)
    best = [np.empty((QUERIES, 0), np.float32), np.empty((QUERIES, 0), np.int64)]
    for first in range(0, count, BLOCK):
        scores = queries.astype(np.float64) @ vectors[first : first + BLOCK].T.astype(np.float64)
        values = np.concatenate([best[0], scores], axis=1)
        places = np.concatenate([best[1], np.tile(np.arange(first, first + scores.shape[1]), (QUERIES, 1))], axis=1)
        order = np.argpartition(-values, K, axis=1)[:, :K]
        order = np.take_along_axis(order, np.argsort(-np.take_along_axis(values, order, 1), axis=1), 1)
        best = [np.take_along_axis(values, order, 1), np.take_along_axis(places, order, 1)]
    np.save(work / "truth.npy", best[1])


def fill(vectors: np.ndarray) -> np.ndarray:
    """Draw the rows into their places; the queries."""
    first = 0
    for block in drawn(*vectors.shape):
        if first == len(vectors):
            return block
        vectors[first : first + len(block)] = block
        first += len(block)
    raise AssertionError


def data(work: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vectors, memory-mapped, the queries, and their true neighbours."""
    return np.load(work / "vectors.npy", mmap_mode="r"), np.load(work / "queries.npy"), np.load(work / "truth.npy")


# circlet


def circlet_build(work: Path) -> None:
    vectors = data(work)[0]
    with open_store(work / "circlet", vectors.shape[1], create=True) as store:
        for first in range(0, len(vectors), 50_000):
            part = range(first, min(first + 50_000, len(vectors)))
            items = [Item(f"{i // PER_CLASS:05d}/{i:07d}.jpg", f"{i // PER_CLASS:05d}", f"{i:032x}") for i in part]
            store.put(items, vectors[first : part.stop])
        store.compact()
        if not list((work / "circlet").glob("approximate-*")):
            store.build_index()


def circlet_open(work: Path) -> Any:
    return open_store(work / "circlet", read_only=True)


def circlet_search(exact: bool) -> Search:
    def search(store: Any, queries: np.ndarray) -> np.ndarray:
        hits = store.search(queries, K, exact=exact)
        return np.array([[int(item.name[6:-4]) for item in items] for items in hits.items])

    return search


# faiss


def faiss_file(work: Path, name: str) -> Path:
    return work / f"{name}.faiss"


def faiss_build(name: str, factory: str) -> Callable[[Path], None]:
    def build(work: Path) -> None:
        import faiss

        vectors = data(work)[0]
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            step = max(len(vectors) // 100_000, 1)
            index.train(np.ascontiguousarray(vectors[::step]))
        for first in range(0, len(vectors), BLOCK):
            index.add(np.ascontiguousarray(vectors[first : first + BLOCK]))
        faiss.write_index(index, str(faiss_file(work, name)))

    return build


def faiss_open(name: str, probes: int = 0) -> Callable[[Path], Any]:
    def opened(work: Path) -> Any:
        import faiss

        index = faiss.read_index(str(faiss_file(work, name)))
        if probes:
            faiss.ParameterSpace().set_index_parameter(index, "nprobe", probes)
        return index

    return opened


def faiss_search(index: Any, queries: np.ndarray) -> np.ndarray:
    return index.search(queries, K)[1]


def faiss_search_by_blas(index: Any, queries: np.ndarray) -> np.ndarray:
    """As faiss is fastest for batches: by default it takes products by BLAS for many more queries only."""
    import faiss

    faiss.cvar.distance_compute_blas_threshold = 20
    return faiss_search(index, queries)


# usearch


def usearch_build(kind: str) -> Callable[[Path], None]:
    def build(work: Path) -> None:
        from usearch.index import Index

        vectors = data(work)[0]
        index = Index(ndim=vectors.shape[1], metric="cos", dtype=kind)
        for first in range(0, len(vectors), BLOCK):
            part = np.ascontiguousarray(vectors[first : first + BLOCK])
            index.add(np.arange(first, first + len(part)), part, threads=torch.get_num_threads())
        index.save(str(work / f"usearch-{kind}"))

    return build


def usearch_open(kind: str, expansion: int) -> Callable[[Path], Any]:
    def opened(work: Path) -> Any:
        from usearch.index import Index

        index = Index.restore(str(work / f"usearch-{kind}"), view=True)
        index.expansion_search = expansion
        return index

    return opened


def usearch_search(index: Any, queries: np.ndarray) -> np.ndarray:
    found = index.search(queries, K, threads=torch.get_num_threads())
    return np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)


def usearch_exact_open(work: Path) -> Any:
    return data(work)[0]


def usearch_exact(vectors: Any, queries: np.ndarray) -> np.ndarray:
    from usearch.index import search

    found = search(vectors, queries, K, "ip", exact=True, threads=torch.get_num_threads())
    return np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)


CONTENDERS: dict[str, Contender] = {
    "circlet": ("exact", circlet_build, "circlet", circlet_open, circlet_search(True)),
    "circlet-approximate": ("approximate", circlet_build, "circlet", circlet_open, circlet_search(False)),
    "faiss-flat": ("exact", faiss_build("flat", "Flat"), "flat.faiss", faiss_open("flat"), faiss_search),
    "faiss-flat-blas": ("exact, BLAS from 20 queries on", faiss_build("flat", "Flat"), "flat.faiss",
                        faiss_open("flat"), faiss_search_by_blas),
    "usearch-exact": ("exact", None, "vectors.npy", usearch_exact_open, usearch_exact),
    "faiss-ivf-sq8": ("IVF2048,SQ8, 64 probes", faiss_build("sq8", "IVF2048,SQ8"), "sq8.faiss",
                      faiss_open("sq8", 64), faiss_search),
    "usearch-i8": ("HNSW of int8, on disk, expansion 64", usearch_build("i8"), "usearch-i8",
                   usearch_open("i8", 64), usearch_search),
    "usearch-i8-256": ("HNSW of int8, on disk, expansion 256", usearch_build("i8"), "usearch-i8",
                       usearch_open("i8", 256), usearch_search),
}  # fmt: skip


def memory_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile"))) / 1024


def measure(name: str, work: Path) -> dict[str, Any]:
    """What a contender takes, in this process."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    _, _, files, opened, search = CONTENDERS[name]
    _, queries, truth = data(work)
    torch.mm(torch.ones(200, 200), torch.ones(200, 200))
    before = memory_mib()
    start = time.perf_counter()
    index = opened(work)
    opening = time.perf_counter() - start
    start = time.perf_counter()
    search(index, queries[:1])
    first = time.perf_counter() - start
    found = np.concatenate([search(index, queries[i : i + 100]) for i in range(0, QUERIES, 100)])
    one = [timed(search, index, queries[i : i + 1]) for i in range(30)]
    batch = [timed(search, index, queries[:100]) for _ in range(5)]
    size = sum(path.stat().st_size for path in [work / files, *(work / files).rglob("*")] if path.is_file())
    return {
        "open_s": round(opening, 3),
        "first_query_s": round(first, 3),
        "query_ms": round(1e3 * float(np.median(one)), 2),
        "batch_of_100_ms": round(1e3 * float(np.median(batch)), 1),
        "recall_at_10": round(float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)])), 4),
        "memory_mib": round(memory_mib() - before),
        "disk_mib": round(size / 2**20),
    }


def timed(search: Callable[..., object], *arguments: Any) -> float:
    start = time.perf_counter()
    search(*arguments)
    return time.perf_counter() - start


def child(step: str, name: str, options: argparse.Namespace) -> str:
    """A step of a contender in a fresh process."""
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    command = [
        sys.executable,
        __file__,
        "--work",
        str(options.work),
        "--threads",
        str(options.threads),
        "--child",
        step,
        name,
    ]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return result.stdout.strip().splitlines()[-1] if result.stdout.strip() else ""


def write(results: dict[str, Any]) -> None:
    """JSON, CSV and Markdown, with ratios to circlet's exact or approximate search."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    rows = []
    for name, row in results["contenders"].items():
        base = results["contenders"].get("circlet" if row["how"].startswith("exact") else "circlet-approximate", row)
        ratios = {f"{key}_ratio": round(row[key] / base[key], 2) for key in ("query_ms", "batch_of_100_ms")}
        rows.append({"contender": name, **{k: v for k, v in row.items() if k != "machine"}, **ratios, **row["machine"]})
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with RESULTS.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
    count, dim = results["vectors"], results["dim"]
    lines = [
        f"# Search of {count:,} x {dim} vectors",
        "",
        f"Drawn in classes of {PER_CLASS}, see benchmarks/search.py; the vectors themselves are "
        f"{4 * count * dim / 2**20:,.0f} MiB. Memory: of the process, mapped files included. Ratios: time over "
        "circlet's way of the same kind.",
        "",
        "| contender | how | one query, ms | ratio | batch of 100, ms | ratio | recall@10 | memory, MiB | disk, MiB "
        "| opening, s | first query, s | building, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['contender']} | {row['how']} | {row['query_ms']} | {row['query_ms_ratio']} "
            f"| {row['batch_of_100_ms']} | {row['batch_of_100_ms_ratio']} | {row['recall_at_10']} "
            f"| {row['memory_mib']:,} | {row['disk_mib']:,} "
            f"| {row['open_s']} | {row['first_query_s']} | {row.get('build_s') or ''} |"
        )
    lines += ["", "Taken on:", ""]
    for name, row in results["contenders"].items():
        lines.append(f"- {name}: " + ", ".join(f"{key} {value}" for key, value in row["machine"].items()) + ".")
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Make the data, build and search what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--build-only", action="store_true", help="make what is searched, and stop")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        step, name = options.child
        if step == "build":
            start = time.perf_counter()
            CONTENDERS[name][1](options.work)  # type: ignore[misc]
            print(time.perf_counter() - start)
        else:
            print(json.dumps(measure(name, options.work)))
        return
    make_data(options.work, options.vectors, options.dim)
    about = options.work / "builds.json"
    builds = json.loads(about.read_text()) if about.exists() else {}
    for name in options.only:
        files = CONTENDERS[name][2]
        if CONTENDERS[name][1] and not (options.work / files).exists():
            builds[files] = round(float(child("build", name, options)), 1)
            about.write_text(json.dumps(builds))
    if options.build_only:
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if (results.get("vectors"), results.get("dim")) != (options.vectors, options.dim):
        results = {"vectors": options.vectors, "dim": options.dim, "contenders": {}}
    for name in options.only:
        how, _, files, _, _ = CONTENDERS[name]
        row = json.loads(child("search", name, options))
        about_machine = machine(*PACKAGES) | {"threads": options.threads}
        results["contenders"][name] = {"how": how, **row, "build_s": builds.get(files), "machine": about_machine}
        print(name, results["contenders"][name], flush=True)
        results["contenders"] = {key: results["contenders"][key] for key in CONTENDERS if key in results["contenders"]}
        write(results)


if __name__ == "__main__":
    main()
