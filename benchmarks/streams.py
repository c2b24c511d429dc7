"""Batches out of shards beside those that may take any image: what they hold, how fast, and in how much memory.

    python benchmarks/streams.py --work /tmp/streams [--only batches memory recall] [--omniglot FOLDER]

1. Batches: P = 64 classes x K = 4 images, out of 50 shards of 200,000 images, by `PKStream` with several buffers, and
   by `PKSampler`. Numbers alone, no images. Full: of the images, how many are in a batch with K images of their class.
   Seen: of the classes, and of the images, how many an epoch meets. Uneven: the standard deviation over the mean of how
   often an epoch takes an image of a class (each has as many).
2. Memory: `circlet train shards` once over 20,000 and once over 200,000 JPEGs of 28 x 28 in 50 tars, the resident
   memory of the training process and of its workers after a tenth of the steps and at the end.
3. Recall: Recall@1 on three tenths of the classes, held out, of Omniglot's two small sets, 28 x 28: the same run from a
   folder of files by `PKSampler` and from eight shards, shuffled and sorted, by a stream that holds a fifth of the
   images; everything but the order of the images is the same.

Writes benchmarks/results/streams.{json,md}.
"""

import argparse
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RESULTS = Path(__file__).parent / "results"
PARTS = ("batches", "memory", "recall")
P, K, SHARDS, IMAGES = 64, 4, 50, 200_000
SMALL = shlex.split(
    "--data.size 28 28 --data.channels 1 --data.workers 1 --model.backbone small --model.no-pretrained --model.size 28 "
    "28 --model.crop-share 1 --model.pooling flatten --model.head linear+bn --model.embedding-dim 64 --model.mean 1 "
    "--model.std 1 --data.interpolation bicubic --augment.hue 0 --augment.saturation 0 --augment.no-flip "
    "--batch.classes 8 --batch.samples 4"
)


def batches() -> list[dict[str, Any]]:
    """What an epoch of batches holds, by number of classes, order in the shards and buffer."""
    rows = []
    for classes in (500, 2_000, 10_000, 50_000):
        for order in ("shuffled", "sorted"):
            labels = np.arange(IMAGES) % classes if order == "shuffled" else np.arange(IMAGES) * classes // IMAGES
            if order == "shuffled":
                labels = np.random.default_rng(0).permutation(labels)
            for buffer in (2_500, 10_000, 40_000):
                rows.append(
                    {"classes": classes, "order": order, "buffer": buffer, "open shards": 16, **stream(labels, buffer)}
                )
            if order == "sorted":
                rows.append({"classes": classes, "order": order, "buffer": 10_000, "open shards": SHARDS,
                             **stream(labels, 10_000, SHARDS)})  # fmt: skip
        rows.append({"classes": classes, "order": "any image at any time", **exact(labels)})
    return rows


def stream(labels: np.ndarray, buffer: int, open_shards: int = 16) -> dict[str, Any]:
    """One epoch of `PKStream`."""
    from circlet.sampling import PKStream

    parts = np.array_split(labels, SHARDS)
    sizes = np.bincount(labels)
    sampler = PKStream(
        [len(part) for part in parts], parts.__getitem__, sizes, P, K, buffer=buffer, open_shards=open_shards
    )
    began = time.process_time()
    taken = [(positions, own) for positions, own in sampler.labelled(0)]
    seconds = time.process_time() - began
    seen = len({position for positions, _ in taken for position in positions})
    found = held([own for _, own in taken], labels)
    return {**found, "images seen": seen / len(labels), "images_per_s": seen / seconds}


def exact(labels: np.ndarray) -> dict[str, Any]:
    """One epoch of `PKSampler`."""
    from circlet.sampling import PKSampler

    taken = [labels[batch].tolist() for batch in PKSampler(labels, P, K)]
    return {**held(taken, labels), "images seen": 1.0}


def held(taken: list[list[int]], labels: np.ndarray) -> dict[str, float]:
    """Shares of the images in full chunks and of the classes seen, and how uneven classes are."""
    counts = [Counter(own) for own in taken]
    images = sum(map(len, taken))
    full = sum(count for each in counts for count in each.values() if count == K)
    alone = sum(count for each in counts for count in each.values() if count == 1)
    of_class = np.zeros(labels.max() + 1)
    for each in counts:
        for label, count in each.items():
            of_class[label] += count
    return {"full": full / images, "alone": alone / images, "classes seen": float((of_class > 0).mean()),
            "uneven": float(of_class.std() / of_class.mean())}  # fmt: skip


def write_shards(folder: Path, images: int, classes: int) -> None:
    """Blocks of ink, moved about and noisy, as JPEGs in shuffled shards."""
    if len(list(folder.glob("*.tar"))) == SHARDS:
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    forms = [np.kron(rng.random((7, 7)) > 0.5, np.full((4, 4), 220)) for _ in range(classes)]
    labels = rng.permutation(np.arange(images) % classes)
    for number, rows in enumerate(np.array_split(np.arange(images), SHARDS)):
        with tarfile.open(folder / f"train-{number:06d}.tar", "w") as tar:
            for row in rows.tolist():
                ink = np.roll(forms[labels[row]], rng.integers(-3, 4, 2), (0, 1)) + rng.integers(-20, 21, (28, 28))
                file = io.BytesIO()
                Image.fromarray(np.clip(255 - ink, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
                put(tar, f"{row:07d}.jpg", file.getvalue())
                put(tar, f"{row:07d}.cls", str(labels[row]).encode())


def put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def resident_mib(pid: int) -> dict[str, float]:
    """Of a process and of its children: what is theirs alone (RssAnon) and with mapped files (VmRSS)."""
    found = {"process": own_mib(pid)}
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return found | {"workers": max((own_mib(int(child)) for child in children), default=0.0)}


def own_mib(pid: int) -> float:
    """VmRSS, 0 of a process that is gone."""
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except FileNotFoundError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def memory(work: Path, images: int) -> dict[str, Any]:
    """Resident memory of a training run over all images once, looked at as metrics.jsonl grows."""
    shards, steps = work / f"shards-{images}", images * 4 // 5 // (P * K)
    write_shards(shards, images, images // 100)
    run = new_folder(work / f"memory-{images}")
    command = [sys.executable, "-P", "-m", "circlet", "train", "shards", "--root", str(shards), *SMALL]
    command += ["--batch.classes", str(P), "--batch.samples", str(K), "--steps", str(steps), "--data.test-share", "0.2",
                "--data.validation-share", "0", "--loop.log-every", str(max(steps // 40, 1)), "--no-report", "--device",
                "cpu", "--run-dir", str(run)]  # fmt: skip
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "CIRCLET_CACHE": str(work / "cache")})
    seen: dict[int, dict[str, float]] = {}
    while process.poll() is None:
        log = run / "metrics.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        done = [json.loads(line)["step"] for line in lines if line.endswith("}")]
        if done:
            seen[done[-1]] = resident_mib(process.pid)
        if done and done[-1] >= steps:
            break
        time.sleep(0.2)
    assert process.wait() == 0, "the training failed"
    at = {step: found for step, found in seen.items() if found["process"]}
    first, last = min(step for step in at if step >= steps // 10), max(step for step in at if step < steps)
    return {"images": images, "steps": steps, "first": {"step": first, **at[first]}, "last": {"step": last, **at[last]},
            "seconds": time.perf_counter() - began}  # fmt: skip


def recalls(work: Path, omniglot: Path | None, seeds: int = 3, steps: int = 200) -> list[dict[str, Any]]:
    """Recall@1 of equal runs from files and from shards."""
    import circlet
    from circlet.training import OptimizerConfig

    os.environ["CIRCLET_CACHE"] = str(work / "cache")
    images = write_omniglot(work / "omniglot", omniglot)
    rows = []
    for order, root in (("any image at any time", "files"), ("shuffled", "shuffled"), ("sorted", "sorted")):
        found = []
        for seed in range(seeds):
            settings = circlet.recipes.shards(
                root=work / "omniglot" / root, data__source="folder" if root == "files" else "shards", steps=steps,
                data__size=(28, 28), data__channels=1, data__interpolation="bicubic", data__workers=0,
                data__validation_share=0.0, data__test_share=0.3, model__backbone="small", model__pretrained=False,
                model__size=(28, 28), model__crop_share=1.0, model__pooling="flatten", model__head="linear+bn",
                model__embedding_dim=64, model__mean=(1.0,), model__std=(1.0,), augment__hue=0.0,
                augment__saturation=0.0, augment__flip=False, augment__crop=(0.8, 1.0),
                batch__classes=16,
                batch__samples=4, batch__buffer=images // 5, loop__seed=seed,
                loop__optimizer=OptimizerConfig(learning_rate=1e-3, backbone_lr_scale=1.0),
            )  # fmt: skip
            folder = new_folder(work / f"recall-{root}-{seed}")
            found.append(circlet.train(settings, run_dir=folder, device="cpu", report=False).metrics["recall@1"])
        rows.append({"order": order, "images": images, "steps": steps, "recall@1": found})
    return rows


def write_omniglot(work: Path, omniglot: Path | None) -> int:
    """The characters of 28 x 28 as files in a folder for each, and as eight shards in either order; how many images."""
    from circlet.data import decode
    from circlet.data import omniglot as load

    splits = load(omniglot)
    images = [
        (f"{part.class_names[label]}", np.asarray(decode(part, index, size=(28, 28), channels=1))[0])
        for part in (splits.train, splits.query)
        for index, label in enumerate(part.labels)
    ]
    images.sort(key=lambda image: image[0])
    mixed = [images[index] for index in np.random.default_rng(0).permutation(len(images))]
    for number, (name, pixels) in enumerate(images):
        path = work / "files" / name.replace("/", " ") / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
    for order, rows in (("sorted", images), ("shuffled", mixed)):
        (work / order).mkdir(exist_ok=True)
        for shard, own in enumerate(np.array_split(np.arange(len(rows)), 8)):
            with tarfile.open(work / order / f"train-{shard:06d}.tar", "w") as tar:
                for row in own.tolist():
                    put(tar, f"{row:05d}.png", png(rows[row][1]))
                    put(tar, f"{row:05d}.cls", rows[row][0].replace("/", " ").encode())
    return len(images)


def new_folder(path: Path) -> Path:
    """The path, without what an earlier measurement has left there."""
    shutil.rmtree(path, ignore_errors=True)
    return path


def png(pixels: np.ndarray) -> bytes:
    """An encoded image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def table(found: dict[str, Any]) -> str:
    """The results in Markdown."""
    here = found["machine"]
    told = (f"{here['cpu']}, {here['cores']} cores, load {here['load']} at the start, torch {here['torch']}, "
            f"{here['date'][:10]}")  # fmt: skip
    lines = [told, "", f"{P} classes x {K} images out of {IMAGES:,} images in "
             f"{SHARDS} shards, one epoch:", "", "| classes | order in the shards | buffer | open shards | images with "
             "all K of their class | alone | classes seen | images seen | uneven | images/s of CPU time |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in found["batches"]:
        speed = f"{row['images_per_s']:,.0f}" if "images_per_s" in row else ""
        lines.append(
            f"| {row['classes']:,} | {row['order']} | {row.get('buffer', '')} | {row.get('open shards', '')} | "
            f"{row['full']:.1%} | {row['alone']:.1%} | {row['classes seen']:.1%} | {row['images seen']:.1%} | "
            f"{row['uneven']:.3f} | {speed} |"
        )
    if found["memory"]:
        lines += ["", "Resident memory of `circlet train shards`, 28 x 28 JPEGs, one loader worker:", "",
                  "| images | step | training process | worker | step | training process | worker |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in found["memory"]:
            parts = (f"{each['step']} of {row['steps']} | {each['process']:.0f} MiB | {each['workers']:.0f} MiB"
                     for each in (row["first"], row["last"]))  # fmt: skip
            lines.append(f"| {row['images']:,} | {' | '.join(parts)} |")
    if found["recall"]:
        first = found["recall"][0]
        lines += ["", f"Recall@1 on held-out classes of Omniglot, {first['images']:,} images of 28 x 28, a small "
                  f"network from random weights, {first['steps']} steps, {len(first['recall@1'])} seeds:", "",
                  "| order of the images | mean | lowest | highest |", "|---|---|---|---|"]  # fmt: skip
        for row in found["recall"]:
            values = row["recall@1"]
            lines.append(f"| {row['order']} | {np.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is asked for, and keep what was measured before of the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for shards and runs; kept")
    parser.add_argument("--images", type=int, nargs="+", default=[IMAGES // 10, IMAGES], help="of the memory")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--omniglot", type=Path, help="folder with its two archives; without, they are downloaded")
    given = parser.parse_args()
    from circlet.environment import machine

    path = RESULTS / "streams.json"
    before = json.loads(path.read_text()) if path.exists() else {"batches": [], "memory": []}
    before.setdefault("recall", [])
    found = {**before, "machine": machine("torch", "pyarrow", "pillow")}
    for part in given.only:
        if part == "batches":
            found["batches"] = batches()
        elif part == "memory":
            others = [row for row in before["memory"] if row["images"] not in given.images]
            rows = [memory(given.work, images) for images in given.images]
            found["memory"] = sorted(others + rows, key=lambda row: row["images"])
        else:
            found["recall"] = recalls(given.work, given.omniglot)
        path.write_text(json.dumps(found, indent=1) + "\n")  # after each: they take long
        path.with_suffix(".md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
