"""Time and peak memory of the evaluation protocols at their true sizes, against their peers.

    python benchmarks/evaluation.py [--only sop market] [--threads 2] [--no-peers]

Synthetic data, seeded. Each contender runs once, in a fresh process: wall time, and the high-water mark of memory above
what it had with its input made (pages of a mapped file not counted). Writes benchmarks/results/evaluation.{json,md}.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import circlet
from circlet.environment import machine

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
PACKAGES = ("circlet", "torch", "numpy", "pytorch-metric-learning", "faiss-cpu", "scikit-learn")
Answer = dict[str, float]


def clustered(num: int, dim: int, ids: Tensor, noise: float, seed: int) -> Tensor:
    """Rows around a random centre for each id, made in blocks."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(int(ids.max()) + 1, dim, generator=torch.Generator().manual_seed(-1))
    rows = centres[ids]
    for part in rows.split(8192):
        part += noise * torch.randn(part.shape, generator=generator)
    return rows


def integers(high: int, num: int, seed: int) -> Tensor:
    """Seeded integers below `high`."""
    return torch.randint(high, (num,), generator=torch.Generator().manual_seed(seed))


# Stanford Online Products: 60,502 images of 11,316 classes


def sop() -> tuple[Tensor, Tensor]:
    labels = torch.arange(60_502) % 11_316
    return clustered(60_502, 512, labels, 2.0, 0), labels


def sop_circlet(embeddings: Tensor, labels: Tensor) -> Answer:
    found = circlet.evaluate.retrieval(embeddings, labels, ks=(1, 10, 100, 1000))
    return {"Recall@1": found.recall_at_k[1], "MAP@R": found.map_at_r}


def sop_pml(embeddings: Tensor, labels: Tensor) -> Answer:
    """With as many neighbours as these metrics need; with all of them, its default, it asks for 29 GB."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    embeddings = torch.nn.functional.normalize(embeddings)
    include = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    found = AccuracyCalculator(include=include, k="max_bin_count", device=torch.device("cpu")).get_accuracy(
        embeddings, labels
    )
    return {"Recall@1": float(found["precision_at_1"]), "MAP@R": float(found["mean_average_precision_at_r"])}


# Market-1501: 3,368 queries, 15,913 gallery images (2,798 distractors) of 750 persons under 6 cameras


def market() -> tuple[Tensor, ...]:
    query_ids, gallery_ids = 1 + integers(750, 3368, 1), 1 + integers(750, 15_913, 2)
    gallery_ids[:2798] = 0
    query = clustered(3368, 2048, query_ids, 3.2, 3)
    gallery = clustered(15_913, 2048, gallery_ids, 3.2, 4)
    return query, query_ids, integers(6, 3368, 5), gallery, gallery_ids, integers(6, 15_913, 6)


def market_circlet(*data: Tensor) -> Answer:
    found = circlet.evaluate.reid(*data)
    return {"CMC(1)": found.cmc[0].item(), "mAP": found.map}


def market_torchreid_style(query: Tensor, query_ids: Tensor, query_cams: Tensor, *gallery: Tensor) -> Answer:
    items = torch.nn.functional.normalize(gallery[0])
    distances = 1 - torch.nn.functional.normalize(query) @ items.T
    return loop_over_queries(distances, query_ids, query_cams, *gallery[1:])


def market_distances() -> tuple[Tensor, ...]:
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = market()
    distances = 1 - torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(gallery).T
    return distances, query_ids, query_cams, gallery_ids, gallery_cams


def market_distances_circlet(*data: Tensor) -> Answer:
    found = circlet.evaluate.reid_from_distances(*data)
    return {"CMC(1)": found.cmc[0].item(), "mAP": found.map}


def loop_over_queries(
    distances: Tensor, query_ids: Tensor, query_cams: Tensor, gallery_ids: Tensor, gallery_cams: Tensor
) -> Answer:
    """The published evaluation in Python: all rows sorted, then one query after the other."""
    q_ids, q_cams, g_ids, g_cams = (x.numpy() for x in (query_ids, query_cams, gallery_ids, gallery_cams))
    order = np.argsort(distances.numpy(), axis=1)
    matches = (g_ids[order] == q_ids[:, np.newaxis]).astype(np.int32)
    first, precisions = [], []
    for i, ranking in enumerate(order):
        keep = ~((g_ids[ranking] == q_ids[i]) & (g_cams[ranking] == q_cams[i]))
        hits = matches[i][keep]
        if not hits.any():
            continue
        cmc = np.minimum(hits.cumsum(), 1)
        first.append(cmc[:50])
        precision = [x / (place + 1.0) for place, x in enumerate(hits.cumsum())]
        precisions.append((np.asarray(precision) * hits).sum() / hits.sum())
    return {"CMC(1)": float(np.mean([x[0] for x in first])), "mAP": float(np.mean(precisions))}


# k-reciprocal re-ranking of Market-1501


def rerank_data() -> tuple[Tensor, Tensor]:
    query, _, _, gallery, _, _ = market()
    return query, gallery


def rerank_circlet(query: Tensor, gallery: Tensor) -> Answer:
    return {"mean": circlet.evaluate.rerank(query, gallery).mean(dtype=torch.float64).item()}


def rerank_dense(query: Tensor, gallery: Tensor, k1: int = 20, k2: int = 6, lambda_: float = 0.3) -> Answer:
    """The published algorithm with square matrices: distances, full ranking, encodings."""
    images = torch.nn.functional.normalize(torch.cat([query, gallery]))
    num_queries, num_images = len(query), len(images)
    distances = (images @ images.T).mul_(-2).add_(2).clamp_(min=0)
    distances = distances.div_(distances.amax(dim=1, keepdim=True)).numpy()
    ranking = np.argsort(distances).astype(np.int32)

    def mutual(i: int, k: int) -> np.ndarray:
        forward = ranking[i, : k + 1]
        return forward[(ranking[forward, : k + 1] == i).any(axis=1)]

    encodings = np.zeros((num_images, num_images), dtype=np.float32)
    for i in range(num_images):
        core = mutual(i, k1)
        members = [core]
        for g in core:
            other = mutual(g, round(k1 / 2))
            if len(np.intersect1d(other, core)) > 2 / 3 * len(other):
                members.append(other)
        chosen = np.unique(np.concatenate(members))
        weights = np.exp(-distances[i, chosen])
        encodings[i, chosen] = weights / weights.sum()
    distances = distances[:num_queries].copy()
    means = np.empty_like(encodings)
    for i in range(num_images):
        means[i] = encodings[ranking[i, :k2]].mean(axis=0)
    encodings = means
    del means
    holders = [np.flatnonzero(encodings[:, c]) for c in range(num_images)]
    total = 0.0
    for i in range(num_queries):
        shared = np.zeros(num_images, dtype=np.float32)
        for c in np.flatnonzero(encodings[i]):
            shared[holders[c]] += np.minimum(encodings[i, c], encodings[holders[c], c])
        result = (1 - shared / (2 - shared)) * (1 - lambda_) + distances[i] * lambda_
        total += float(result[num_queries:].mean(dtype=np.float64))
    return {"mean": total / num_queries}


# IJB-C 1:1: 469,375 images, 23,124 templates of 3,531 persons, 19,557 genuine and 15,638,932 impostor pairs


def ijbc() -> tuple[Tensor, ...]:
    num_templates = 23_124
    templates = torch.cat([torch.arange(num_templates), integers(num_templates, 469_375 - num_templates, 0)])
    features = clustered(469_375, 512, templates % 3531, 6.0, 1)
    genuine = integers(num_templates - 3531, 19_557, 2)
    genuine = torch.stack([genuine, genuine + 3531], dim=1)
    impostors = integers(num_templates, 2 * 15_638_932, 3).view(-1, 2)
    impostors[:, 1] += ((impostors[:, 0] - impostors[:, 1]) % 3531 == 0).long()
    impostors %= num_templates  # (in the rare wrap-around a pair may be of one person)
    is_same = torch.arange(15_658_489) < 19_557
    return features, templates, integers(138_836, 469_375, 4), torch.cat([genuine, impostors]), is_same


def ijbc_circlet(*data: Tensor) -> Answer:
    found = circlet.evaluate.template_verification(*data)
    return {f"TAR@{far:g}": found.tar_at_far[far] for far in (1e-6, 1e-4)}


def ijbc_gathered(features: Tensor, template_ids: Tensor, media_ids: Tensor, pairs: Tensor, same: Tensor) -> Answer:
    """As the reference scores and reads: gathered rows, 100,000 pairs at a time, scikit-learn's ROC."""
    from sklearn.metrics import roc_curve

    templates, _ = circlet.evaluate.template_embeddings(features, template_ids, media_ids)
    rows = templates.numpy()
    scores = np.concatenate([(rows[a] * rows[b]).sum(axis=1) for a, b in (p.numpy().T for p in pairs.split(100_000))])
    far, tar, _ = roc_curve(same.numpy(), scores)
    far, tar = far[::-1], tar[::-1]
    return {f"TAR@{target:g}": float(tar[np.abs(far - target).argmin()]) for target in (1e-6, 1e-4)}


# MegaFace: 3,530 probes of 80 persons, 1,000,000 distractors in a file


def megaface(num_distractors: int = 1_000_000) -> tuple[Tensor, Tensor, np.memmap]:
    path = Path(tempfile.gettempdir()) / "distractors.bin"  # in the folder that the parent process made
    file = np.memmap(path, dtype=np.float32, mode="w+", shape=(num_distractors, 512))
    generator = torch.Generator().manual_seed(0)
    for start in range(0, num_distractors, 10_000):
        file[start : start + 10_000] = torch.randn(10_000, 512, generator=generator).numpy()
    file.flush()
    del file
    ids = torch.arange(3530) % 80
    file = np.memmap(path, dtype=np.float32, mode="r", shape=(num_distractors, 512))
    return clustered(3530, 512, ids, 2.0, 1), ids, file


def megaface_circlet(probes: Tensor, ids: Tensor, distractors: np.memmap) -> Answer:
    found = circlet.evaluate.identification(probes, ids, distractors)
    return {"rank 1": found.rank_accuracy[1], "TAR@1e-06": found.tar_at_far[1e-6]}


@dataclass(frozen=True)
class Case:
    """A protocol at its size, who is to compute it and from what."""

    name: str
    data: Callable[[], tuple]
    contenders: dict[str, Callable[..., Answer]]  # circlet first


CASES = {
    "sop": Case("SOP, 60,502 x 512", sop, {"circlet": sop_circlet, "pytorch-metric-learning with faiss": sop_pml}),
    "market": Case(
        "Market, 3,368 x 15,913 x 2,048", market, {"circlet": market_circlet, "torchreid-style": market_torchreid_style}
    ),
    "market-distances": Case(
        "Market, distances given",
        market_distances,
        {"circlet": market_distances_circlet, "torchreid-style": loop_over_queries},
    ),
    "rerank": Case(
        "re-ranking, 19,281 x 2,048", rerank_data, {"circlet": rerank_circlet, "square matrices": rerank_dense}
    ),
    "ijbc": Case(
        "IJB-C, 15.66 million pairs", ijbc, {"circlet": ijbc_circlet, "gathered rows and scikit-learn": ijbc_gathered}
    ),
    "megaface": Case("MegaFace, 3,530 against 1,000,000 x 512", megaface, {"circlet": megaface_circlet}),
}


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def measure(case: Case, contender: str) -> dict[str, object]:
    """Seconds, MiB and the answer of one contender, in this process."""
    data = case.data()
    if contender.startswith("pytorch-metric"):  # loads its libraries
        case.contenders[contender](data[0][:64], torch.arange(64) % 8)
    Path("/proc/self/clear_refs").write_text("5")
    before, mapped = _status("VmRSS"), _status("RssFile")
    start = time.perf_counter()
    answer = case.contenders[contender](*data)
    seconds = time.perf_counter() - start
    extra = _status("VmHWM") - before - (_status("RssFile") - mapped)
    return {"seconds": seconds, "extra_mib": extra, "answer": answer, "load_average": os.getloadavg()[0]}


def child(case: str, contender: str, threads: int) -> dict[str, object]:
    """`measure` in a fresh process with its own temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TMPDIR": folder}
        command = [sys.executable, __file__, "--threads", str(threads), "--child", case, contender]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1] if result.stderr.strip() else f"killed ({result.returncode})"
        return {"failed": reason}
    return json.loads(result.stdout.strip().splitlines()[-1])


def table(results: dict) -> str:
    """Markdown: one row for each case and contender; ratios to circlet in the same run."""
    lines = [
        "# Evaluation protocols on a CPU: time and memory",
        "",
        "Synthetic data of the true sizes, one run each. Memory is beyond the input. Ratio: time over circlet's.",
        "",
        "| case | contender | seconds | ratio | extra MiB | answer |",
        "|---|---|---|---|---|---|",
    ]
    for key, case in results["cases"].items():
        own = case["contenders"]["circlet"].get("seconds")
        for name, row in case["contenders"].items():
            if "failed" in row:
                lines.append(f"| {CASES[key].name} | {name} | {row['failed']} | | | |")
                continue
            answer = ", ".join(f"{metric} {value:.4f}" for metric, value in row["answer"].items())
            ratio = f"{row['seconds'] / own:.2f}" if own else ""
            lines.append(
                f"| {CASES[key].name} | {name} | {row['seconds']:.1f} | {ratio} | {row['extra_mib']:.0f} | {answer} |"
            )
    lines += ["", "Taken on:", ""]
    for key, case in results["cases"].items():
        about = ", ".join(f"{name} {value}" for name, value in case["machine"].items())
        lines.append(f"- {CASES[key].name}: {about}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the cases asked for; results of other cases in the JSON file are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-peers", action="store_true", help="circlet alone")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(measure(CASES[options.child[0]], options.child[1])))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cases": {}}
    for key in options.only:
        case, rows, about = CASES[key], {}, {"threads": options.threads, **machine(*PACKAGES)}
        for name in list(case.contenders)[: 1 if options.no_peers else None]:
            rows[name] = child(key, name, options.threads)
            print(f"{case.name:42} {name:36} {rows[name]}", flush=True)
        results["cases"][key] = {"machine": about, "contenders": rows}
        results["cases"] = {known: results["cases"][known] for known in CASES if known in results["cases"]}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        RESULTS.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
