"""Near duplicates: recall and false alarms of circlet's and of imagededup's methods, on copies made from photographs.

    python benchmarks/near_duplicates.py --photos PHOTOS --peer /tmp/imagededup/bin/python

Of NUM photographs, each is changed in every way once; all photographs are there too, so that shots of one scene and
other photographs of one thing may be mistaken for copies. A method names pairs. Recall: copies that are paired with
their original, by the change. Wrong pairs: two photographs, of which one or its copy is paired with the other or its
copy. Writes results/near_duplicates.{md,csv}.

The peer has its own environment (pip install --no-deps imagededup pywavelets scikit-learn scipy tqdm joblib
threadpoolctl cloudpickle narwhals; pip install matplotlib pillow): its hashes are run, its CNN is not (torchvision).
"""

import argparse
import csv
import io
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from circlet.curate.audit import CANDIDATES
from circlet.curate.duplicates import near_pairs
from circlet.curate.nearest import nearest_of
from circlet.curate.overlay import SAME
from circlet.curate.small_pictures import small_pictures
from circlet.data import ImageSet, every_image
from circlet.data.images import FileReader
from circlet.inference import load_model

RESULTS = Path(__file__).parent / "results"
HASHES = ("PHash", "DHash", "WHash", "AHash")
FARTHEST = 24  # bits: more are no duplicates to anybody
TEXT = """# Near duplicates

{photos} photographs of goods and {copies} copies of {chosen} of them: cropped to 80 to 95 % of each side, JPEG of
quality 30 to 60, resized to .3 to .7, mirrored, brightness -30 to +30 %, and all of these at once. Recall by change,
and pairs of two different photographs that are taken for one picture.

{table}

The time is that of comparing (circlet: decoding and pixels; the network comes on top, unless its features are kept;
imagededup: decoding and hashing). The photographs hold shots of one scene within seconds, which any method may pair.
imagededup's CNN was not run: {cnn}.

{versions}, imagededup 0.3.3.post2, two cores, not quiet; benchmarks/near_duplicates.py.
"""
PEER = """
import json, sys, time, types
import numpy as np
stub = types.ModuleType("imagededup.methods.cnn"); stub.CNN = None  # it needs torch and torchvision
stub.CustomModel = None
sys.modules["imagededup.methods.cnn"] = sys.modules["imagededup.utils.models"] = stub
from imagededup.methods import hashing
paths = json.load(open(sys.argv[1])); found = {}
for name in sys.argv[3:]:
    began = time.process_time()
    method = getattr(hashing, name)()
    codes = [int(method.encode_image(image_file=path) or "0", 16) for path in paths]
    bits = np.array([[code >> b & 1 for b in range(64)] for code in codes], dtype=np.float32)
    seconds = time.process_time() - began
    distance = bits.sum(1)[:, None] + bits.sum(1)[None] - 2 * bits @ bits.T
    i, j = np.nonzero(np.triu(distance <= int(sys.argv[2]), 1))
    found[name] = dict(pairs=np.stack([i, j, distance[i, j]], 1).astype(int).tolist(), seconds=seconds)
try:
    import torchvision
    cnn = "loads"
except Exception as error:
    cnn = f"{type(error).__name__}: {error}"
json.dump(dict(found=found, cnn=cnn), sys.stdout)
"""


def changes(rng):
    def jpeg(image):
        file = io.BytesIO()
        image.save(file, "jpeg", quality=int(rng.integers(30, 61)))
        return Image.open(io.BytesIO(file.getvalue())).convert("RGB")

    def crop(image):
        width, height = (round(side * rng.uniform(0.8, 0.95)) for side in image.size)
        left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
        return image.crop((left, top, left + width, top + height))

    def resize(image):
        share = rng.uniform(0.3, 0.7)
        return image.resize([max(1, round(side * share)) for side in image.size], Image.Resampling.BICUBIC)

    def brightness(image):
        return ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))

    def everything(image):
        return jpeg(brightness(ImageOps.mirror(resize(crop(image)))))

    return {"crop": crop, "jpeg": jpeg, "resize": resize, "mirror": ImageOps.mirror, "brightness": brightness,
            "all of them": everything}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True, help="Python of the environment with imagededup")
    parser.add_argument("--num", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(given, Path(folder))


def run(given, folder):
    photos = every_image(given.photos)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(photos), min(given.num, len(photos)), replace=False))
    paths = [photos.read.file(i) for i in range(len(photos))]
    origin, change = list(range(len(photos))), [""] * len(photos)
    made = changes(rng)
    for i in chosen.tolist():
        with Image.open(paths[i]) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        for name, function in made.items():
            path = folder / f"{i}-{name.replace(' ', '-')}.png"
            function(image).save(path)
            paths.append(str(path))
            origin.append(i)
            change.append(name)
    images = ImageSet.from_classes(
        ["one"] * len(paths), paths, FileReader("/", tuple(map(str, map(Path.absolute, map(Path, paths)))))
    )
    print(f"{len(photos)} photos, {len(paths) - len(photos)} copies of {len(chosen)}", flush=True)
    peers = list(theirs(given.peer, folder, paths))
    rows = [*ours(images), *peers]
    origin, change = np.array(origin), np.array(change)
    table = [
        [title, setting, *judged(pairs, origin, change, list(made)), seconds]
        for title, setting, pairs, seconds in rows[:-1]
    ]
    write(table, list(made), len(photos), len(chosen), rows[-1])


def ours(images):
    model = load_model()
    model.embed_images(images.subset(range(8)))
    began = time.process_time()
    _, embeddings = model.embed_images(images)
    nearest = nearest_of(embeddings, CANDIDATES)
    middle = time.process_time()
    found = near_pairs(nearest, small_pictures(images), same=0.5)
    seconds = (time.process_time() - middle) / len(images)
    print(f"network {middle - began:.0f} CPU s, pixels {seconds * len(images):.0f}", flush=True)
    for same in (SAME, 0.8):
        yield "circlet dedupe", f"threshold {same:g}", found.indices[found.score >= same], seconds
    similarity, index = nearest
    for least in (0.97, 0.9):
        i, j = np.nonzero(similarity >= least)
        yield "embedding alone", f"cosine {least:g}", np.stack([i, index[i, j]], 1), 0.0


def theirs(python, folder, paths):
    listed = folder / "paths.json"
    listed.write_text(json.dumps(paths))
    command = [
        str(python),
        "-P" if sys.version_info >= (3, 11) else "-I",
        "-c",
        PEER,
        str(listed),
        str(FARTHEST),
        *HASHES,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr}")
    answer = json.loads(done.stdout)
    for name, found in answer["found"].items():
        pairs = np.array(found["pairs"]).reshape(-1, 3)
        for farthest in (10, 0, 4, 16):
            usual = ", its default" if farthest == 10 else ""
            yield (
                f"imagededup {name}",
                f"distance {farthest}{usual}",
                pairs[pairs[:, 2] <= farthest, :2],
                found["seconds"] / len(paths),
            )
    yield answer["cnn"]


def judged(pairs, origin, change, names):
    """Recall by change, over all, and the number of wrong pairs of photographs."""
    found = set()
    for i, j in pairs.tolist():
        if origin[i] == origin[j] and (change[i] == "") != (change[j] == ""):
            found.add(j if change[i] == "" else i)
    recall = [np.mean([int(i in found) for i in np.flatnonzero(change == name)]) for name in names]
    ends = np.sort(origin[pairs], axis=1)
    return [*recall, np.mean(recall), len(np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0))]


def write(table, names, num_photos, num_chosen, cnn):
    heads = ["method", "setting", *names, "mean", "wrong pairs", "CPU ms an image"]
    with open(RESULTS / "near_duplicates.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows([*row[:2], *(f"{x:.4f}" for x in row[2:-2]), row[-2], f"{row[-1] * 1e3:.2f}"] for row in table)
    cells = [[*row[:2], *(f"{x:.3f}" for x in row[2:-2]), f"{row[-2]:,}", f"{row[-1] * 1e3:.1f}"] for row in table]
    rows = [heads, ["---"] * 2 + ["---:"] * (len(heads) - 2), *cells]
    text = TEXT.format(
        photos=f"{num_photos:,}",
        copies=f"{num_chosen * len(names):,}",
        chosen=num_chosen,
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        cnn=cnn.splitlines()[0][:200],
        versions=f"{date.today()}, torch {torch.__version__}, Pillow {version('pillow')}, {platform.machine()}",
    )
    (RESULTS / "near_duplicates.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
