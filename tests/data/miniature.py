"""Every published format in miniature: a writer for each, with the folders, lists and names of the real one.

Images are tiny JPEGs in a colour of their class. Each writer returns the counts that `circlet.data.check` must find.
"""

import colorsys
import io
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image

MAGIC = struct.pack("<I", 0xCED7230A)


def jpeg(class_number: int, instance: int = 0, *, grey: bool = False, size: tuple[int, int] = (32, 32)) -> bytes:
    """A JPEG whose colour says its class, with some noise of its own."""
    rng = np.random.default_rng((class_number, instance))
    hue, value = class_number * 0.618034 % 1, 0.55 + 0.4 * (class_number * 0.414214 % 1)
    colour = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.8, value))
    pixels = (colour + rng.normal(0, 8, (size[1], size[0], 3))).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert("L") if grey else image).save(file, "JPEG", quality=90)
    return file.getvalue()


def put(path: Path, class_number: int, instance: int = 0, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(class_number, instance, **options))


def put_small(root: Path, *paths: str) -> None:
    """Images of 4 x 4 pixels, each with a grey value by its name."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), len(path)).save(file)


def text(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def two_roles(classes: int, images: int) -> dict[str, int]:
    roles = ("train", "query")
    return {f"{r} {w}": n for r in roles for w, n in (("images", classes * images), ("classes", classes))}


def write_cub200(root: Path, classes: int = 3, images: int = 4) -> dict[str, int]:
    """`classes` on either side of class 100, in a folder CUB_200_2011; the first image of each is grey."""
    folder = root / "CUB_200_2011"
    listed, labels, splits = [], [], []
    for number in (*range(1, classes + 1), *range(101, 101 + classes)):
        for instance in range(images):
            path = f"{number:03d}.Bird_{number}/Bird_{number}_{instance:04d}.jpg"
            put(folder / "images" / path, number, instance, grey=instance == 0)
            listed.append(f"{len(listed) + 1} {path}")
            labels.append(f"{len(listed)} {number}")
            splits.append(f"{len(listed)} {instance % 2}")
    text(folder / "images.txt", listed)
    text(folder / "image_class_labels.txt", labels)
    text(folder / "train_test_split.txt", splits)
    return two_roles(classes, images)


def write_cars196(root: Path, classes: int = 3, images: int = 4, *, form: str = "annos") -> dict[str, int]:
    """`classes` on either side of class 98; form: "annos" (cars_annos.mat) or "devkit" (two lists)."""
    from scipy.io import savemat

    everything = [(n, i) for n in (*range(1, classes + 1), *range(99, 99 + classes)) for i in range(images)]
    boxes = {f"bbox_{corner}": 1 for corner in ("x1", "y1", "x2", "y2")}

    def save(path, records):
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = list(records[0])
        array = np.empty((1, len(records)), dtype=[(key, object) for key in keys])
        for column, record in enumerate(records):
            array[0, column] = tuple(record[key] for key in keys)
        savemat(path, {"annotations": array})

    if form == "annos":
        records = []
        for row, (number, instance) in enumerate(everything):
            name = f"car_ims/{row + 1:06d}.jpg"
            put(root / name, number, instance)
            records.append({"relative_im_path": name, **boxes, "class": number, "test": instance % 2})
        save(root / "cars_annos.mat", records)
        return two_roles(classes, images)
    parts = {"cars_train": everything[::2], "cars_test": everything[1::2]}
    lists = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}
    for folder, part in parts.items():
        records = []
        for row, (number, instance) in enumerate(part):
            put(root / folder / f"{row + 1:05d}.jpg", number, instance)
            records.append({**boxes, "class": number, "fname": f"{row + 1:05d}.jpg"})
        save(root / lists[folder], records)
    return two_roles(classes, images)


def write_sop(root: Path, classes: int = 3, images: int = 4) -> dict[str, int]:
    """`classes` in either list, of two super-classes."""
    folder = root / "Stanford_Online_Products"
    supers = ("bicycle", "cabinet")
    row = 0
    for part, first in (("train", 1), ("test", classes + 1)):
        lines = ["image_id class_id super_class_id path"]
        for number in range(first, first + classes):
            which = number % 2
            for instance in range(images):
                row += 1
                path = f"{supers[which]}_final/{111085122870 + number}_{instance}.JPG"
                put(folder / path, number, instance)
                lines.append(f"{row} {number} {which + 1} {path}")
        text(folder / f"Ebay_{part}.txt", lines)
    return two_roles(classes, images)


def write_inshop(root: Path, classes: int = 3, images: int = 4) -> dict[str, int]:
    """`classes` in train, as many in query and gallery; half of their images in either."""
    lines = []
    for item in range(1, 2 * classes + 1):
        for instance in range(images):
            path = f"img/WOMEN/Dresses/id_{item:08d}/{instance:02d}_1_front.jpg"
            put(root / "Img" / path, item, instance)
            status = "train" if item <= classes else ("query", "gallery")[instance % 2]
            lines.append(f"{path:<70} id_{item:08d} {status:>10}")
    text(root / "Eval" / "list_eval_partition.txt", [len(lines), "image_name item_id evaluation_status", *lines])
    half = classes * images // 2
    return {
        "train images": classes * images,
        "train classes": classes,
        "query images": classes * images - half,
        "query classes": classes,
        "gallery images": half,
        "gallery classes": classes,
    }


def write_market(root: Path, ids: int = 3, cameras: int = 3, *, duke: bool = False) -> dict[str, int]:
    """Odd ids train, even ones are tested: a query and a gallery image in each camera; junk (not Duke), distractors.

    The distractors of Market-1501 all have the id 0000, those of Duke are persons with ids of their own.
    """
    folder = root / ("DukeMTMC-reID" if duke else "Market-1501-v15.09.15")

    def name(person, camera, instance):
        digits = f"{person:04d}" if person >= 0 else "-1"
        return f"{digits}_c{camera}_f{instance:07d}.jpg" if duke else f"{digits}_c{camera}s1_{instance:06d}_01.jpg"

    def add(part, person, camera, instance):
        put(folder / part / name(person, camera, instance), max(person, 0), instance, size=(16, 32))

    for index in range(ids):
        for camera in range(1, cameras + 1):
            for instance in range(2):
                add("bounding_box_train", 2 * index + 1, camera, 10 * camera + instance)
            add("query", 2 * index + 2, camera, 10 * camera)
            add("bounding_box_test", 2 * index + 2, camera, 10 * camera + 5)
    if not duke:
        for instance in range(3):
            add("bounding_box_test", -1, 1 + instance % cameras, 100 + instance)
    for instance in range(2):
        add("bounding_box_test", 2 * (ids + instance) + 2 if duke else 0, 1 + instance % cameras, 200 + instance)
    (folder / "bounding_box_test" / "Thumbs.db").write_bytes(b"not an image")
    return {
        "train images": 2 * ids * cameras,
        "train classes": ids,
        "query images": ids * cameras,
        "query classes": ids,
        "gallery images": ids * cameras + (2 if duke else 5),
        "gallery classes": ids + 2,
    }


def write_msmt17(root: Path, ids: int = 3, *, version: int = 1, with_val: bool = True) -> dict[str, int]:
    """`ids` to train on and as many to test, both from 0; cameras 1, 9 and 12; one training image in list_val.txt.

    with_val: whether the counts are those of both training lists.
    """
    folder = root / f"MSMT17_V{version}"
    train, test = ("train", "test") if version == 1 else ("mask_train_v2", "mask_test_v2")
    lists: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}
    for part, names in ((train, ("train", "train", "val")), (test, ("query", "gallery", "gallery"))):
        for person in range(ids):
            for instance, (camera, role) in enumerate(zip((1, 9, 12), names, strict=True)):
                path = f"{person:04d}/{person:04d}_{instance:03d}_{camera:02d}_0303morning_{instance:04d}_0.jpg"
                put(folder / part / path, person + (ids if part == test else 0), instance, size=(16, 32))
                lists[role].append(f"{path} {person}")
    for role, lines in lists.items():
        text(folder / f"list_{role}.txt", lines)
    return {
        "train images": (3 if with_val else 2) * ids,
        "train classes": ids,
        "query images": ids,
        "query classes": ids,
        "gallery images": 2 * ids,
        "gallery classes": ids,
    }


def write_vehicleid(root: Path, vehicles: int = 3, images: int = 4, *, size: int = 800) -> dict[str, int]:
    """`vehicles` to train on and as many in the test list of that size."""
    lists: dict[str, list[str]] = {"train_list": [], f"test_list_{size}": []}
    for part, first in (("train_list", 1), (f"test_list_{size}", vehicles + 1)):
        for vehicle in range(first, first + vehicles):
            for instance in range(images):
                put(root / "image" / f"{100 * vehicle + instance:07d}.jpg", vehicle, instance)
                lists[part].append(f"{100 * vehicle + instance:07d} {vehicle}")
    for part, lines in lists.items():
        text(root / "train_test_split" / f"{part}.txt", lines)
    return {
        "train images": vehicles * images,
        "train classes": vehicles,
        "query images": vehicles * (images - 1),
        "gallery images": vehicles,
        "gallery classes": vehicles,
    }


def record(payload: bytes) -> bytes:
    """A payload as RecordIO stores it: in parts where it has the magic at a multiple of four bytes."""
    parts, start = [], 0
    for position in range(0, len(payload) - 3, 4):
        if payload[position : position + 4] == MAGIC:
            parts.append(payload[start:position])
            start = position + 4
    parts.append(payload[start:])
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def image_payload(labels, image: bytes, key: int = 0) -> bytes:
    """The payload of an image record: one label in the header, several after it."""
    if isinstance(labels, int):
        return struct.pack("<IfQQ", 0, labels, key, 0) + image
    return struct.pack("<IfQQ", len(labels), 0, key, 0) + struct.pack(f"<{len(labels)}f", *labels) + image


def write_face_records(
    root: Path, persons: int = 6, images: int = 4, *, header: bool = True, first_key: int = 1
) -> dict[str, int]:
    """train.rec, train.idx and property; every third image contains the magic and is stored in parts.

    header: with record 0 and a record for each person, as insightface writes them.
    """
    payloads = {}
    key = first_key if header else 0
    bounds = []
    for person in range(persons):
        bounds.append((key, key + images))
        for instance in range(images):
            content = jpeg(person, instance)
            if key % 3 == 0:  # decoders pass over what follows the end of an image
                content += b"\0" * (-len(content) % 4) + MAGIC + b"between" + b"\0" + MAGIC
            payloads[key] = image_payload(person if instance % 2 else [person, 0.5], content, key)
            key += 1
    if header:
        payloads[0] = image_payload([key, key + persons], b"")
        payloads |= {key + person: image_payload(list(pair), b"") for person, pair in enumerate(bounds)}
    root.mkdir(parents=True, exist_ok=True)
    offset = 0
    with (root / "train.rec").open("wb") as records, (root / "train.idx").open("w") as index:
        for number, payload in payloads.items():  # record 0 comes last, as the order in the file must not matter
            index.write(f"{number}\t{offset}\n")
            offset += records.write(record(payload))
    text(root / "property", [f"{persons},32,32"])
    return {"images": persons * images, "classes": persons}


def write_face_bin(path: Path, pairs: int = 20, *, protocol: int = 4, arrays: bool = False) -> dict[str, int]:
    """A verification file; of every second pair both are the same person."""
    is_same = [pair % 2 == 0 for pair in range(pairs)]
    images = [jpeg(pair + (side and not is_same[pair]), side) for pair in range(pairs) for side in range(2)]
    content = [np.frombuffer(image, dtype=np.uint8) for image in images] if arrays else images
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps((content, is_same), protocol))
    return {"images": 2 * pairs, "pairs": pairs, "same pairs": pairs // 2, "folds": 10}


def write_lfw(root: Path, folds: int = 10, per_kind: int = 2) -> dict[str, int]:
    """Persons in folders of their names, and pairs.txt with its ten folds."""
    persons = [f"Person_{letter}_van_{letter * 2}" for letter in "ABCDE"]
    for number, person in enumerate(persons):
        for instance in range(1, 4):
            put(root / "lfw" / person / f"{person}_{instance:04d}.jpg", number, instance)
    lines = [f"{folds}\t{per_kind}"]
    for fold in range(folds):
        lines += [f"{persons[(fold + i) % 5]}\t{1 + i % 2}\t3" for i in range(per_kind)]
        lines += [f"{persons[(fold + i) % 5]}\t1\t{persons[(fold + i + 1) % 5]}\t2" for i in range(per_kind)]
    text(root / "pairs.txt", lines)
    return {"pairs": 2 * folds * per_kind, "same pairs": folds * per_kind, "folds": folds}


def write_ytf(root: Path, folds: int = 10, per_fold: int = 4) -> dict[str, int]:
    """Two videos of five persons, with two or three frames, and splits.txt."""
    persons = [f"Person_{letter}" for letter in "ABCDE"]
    for number, person in enumerate(persons):
        for video in (0, 4):
            for frame in range(2 + number % 2):
                name = f"aligned_detect_{video}.{100 + frame}.jpg"
                put(root / "aligned_images_DB" / person / str(video) / name, number, 10 * video + frame)
    lines = ["split number, pair number in split, first name, second name, is same"]
    for fold in range(folds):
        for pair in range(per_fold):
            first, same = persons[(fold + pair) % 5], pair % 2
            second = first if same else persons[(fold + pair + 1) % 5]
            lines.append(f"{fold + 1}, {pair + 1}, {first}/0, {second}/4, {same}")
    text(root / "splits.txt", lines)
    return {"pairs": folds * per_fold, "same pairs": folds * (per_fold // 2), "folds": folds}


def write_ijbc(root: Path, persons: int = 4) -> dict[str, int]:
    """Two templates for each person, of an image and of a video with two frames; every pair of templates."""
    faces, points = [], []
    number = 0
    for template in range(1, 2 * persons + 1):
        for instance in range(3):
            number += 1
            put(root / "IJBC" / "loose_crop" / f"{number}.jpg", (template - 1) // 2, number, size=(40, 48))
            media = 100 * template + min(instance, 1)
            faces.append(f"{number}.jpg {template} {media}")
            points.append(f"{number}.jpg 10.5 15.0 29.5 15.0 20.0 22.25 12.0 35.0 28.0 35.0 0.{90 + number % 10}")
    pairs = [(a, b) for a in range(1, 2 * persons + 1) for b in range(a + 1, 2 * persons + 1)]
    meta = root / "IJBC" / "meta"
    text(meta / "ijbc_face_tid_mid.txt", faces)
    text(meta / "ijbc_name_5pts_score.txt", points)
    text(meta / "ijbc_template_pair_label.txt", [f"{a} {b} {int((a - 1) // 2 == (b - 1) // 2)}" for a, b in pairs])
    return {"images": number, "templates": 2 * persons, "pairs": len(pairs), "same pairs": persons}


def write_megaface(root: Path, persons: int = 4, images: int = 3, distractors: int = 10) -> dict[str, int]:
    """Probes of a few persons and distractors of others, in the folders of insightface's test pack."""
    probes = [(f"Person_{p}/Person_{p}_{i}.png", p, i) for p in range(persons) for i in range(images)]
    others = [(f"{n % 3}/{n}@N00/{n}@N00_0.jpg", persons + n, 0) for n in range(distractors)]
    for name, listed in (("facescrub", probes), ("megaface", others)):
        for path, number, instance in listed:
            put(root / "data" / f"{name}_images" / path, number, instance)
        text(root / "data" / f"{name}_lst", [path for path, _, _ in listed])
    return {"probe images": persons * images, "probe classes": persons, "distractor images": distractors}
