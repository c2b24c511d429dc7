"""What is fuzzed of indexes: the files of an embedded store, settings, thresholds, Parquet, and model files.

A store's files have checksums, which anybody who makes one to do harm can compute. So their targets are there twice: as
a bad disk leaves them, and `resealed`, with every checksum made right again, which is what the readers behind the
checksums meet. Those are read, written on and compacted: whatever is in them, it ends in a ValueError or a result.
"""

import json
import shutil
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from PIL import Image

from circlet.index import Index
from circlet.index.memory import MemoryStore
from circlet.vectors import Item, journal, manifest, open_store, segment
from circlet.vectors.parquet import put_parquet

DIM = 6
MANIFEST = manifest.NAME


def rows(count: int, seed: int = 0, dim: int = DIM) -> Any:
    """Unit rows about a few centres."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(8, dim))[rng.integers(0, 8, count)] + rng.normal(0, 0.05, (count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def write_store(folder: Path) -> None:
    """A store with two segments, removed rows, and a journal of records of both kinds."""
    with open_store(folder / "index", DIM, create=True) as store:
        store.put([Item(f"{i}.jpg", f"class {i % 3}", f"{i:032x}") for i in range(9)], rows(9))
        store.compact()
        store.put([Item(f"é{i}.jpg") for i in range(3)], rows(3, 1))
        store.remove(["1.jpg", "é1.jpg"])
        store.set_meta({"root": "photos", "thresholds": [0.5, 1], "nested": {"a": None}})
        store.put([Item("4.jpg", "other")], rows(1, 2))


def contents(store: Any) -> Any:
    """All that a store can be asked for, in a form that can be compared."""
    items = store.items()
    names = [item.name for item in items]
    hits = [store.search(rows(count, 3), 4) for count in (1, 3)]
    return repr((len(store), items, store.vectors(names).tobytes(), store.meta(), hits, store.vectors(names[:1]).shape))


def read_store(folder: Path) -> Any:
    """Its contents, as a reader sees them."""
    with open_store(folder / "index", read_only=True) as store:
        return contents(store)


def write_on(folder: Path) -> None:
    """Read it; then change and compact a copy, and read that."""
    read_store(folder)
    copy = folder / "copy" / "index"
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(folder / "index", copy)
    with open_store(copy) as store:
        store.put([Item("0.jpg", "changed"), Item("new.jpg")], rows(2, 4))
        store.remove(["2.jpg", "é0.jpg"])
        store.compact()
        store.put([Item("newer.jpg")], rows(1, 5))
        contents(store)


def resealed_manifest(folder: Path) -> None:
    """Read what an edited manifest says, with its checksum right."""
    path = folder / "index" / MANIFEST
    try:
        found = json.loads(path.read_bytes())
        found["crc32"] = manifest._checksum(found["state"], found["meta"])
        text = json.dumps(found)
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    else:
        path.write_text(text)
    write_on(folder)


def write_cut_segment(folder: Path) -> None:
    """A store of one segment, which lies beside it too, without the empty part of its first page."""
    write_store(folder)
    with open_store(folder / "index") as store:
        store.compact()
    raw = next((folder / "index").glob("segment-*")).read_bytes()
    (folder / "segment.cut").write_bytes(raw[: segment._HEADER.size] + raw[segment._HEADER_BYTES :])


def resealed_segment(folder: Path) -> None:
    """Read the segment that was cut, put together again with checksums of what is there."""
    cut, size = (folder / "segment.cut").read_bytes(), segment._HEADER.size
    header, rest = cut[:size], cut[size:]
    raw = bytearray(header.ljust(segment._HEADER_BYTES, b"\0") + rest)
    place = next((folder / "index").glob("segment-*"))
    _, _, *numbers = segment._HEADER.unpack_from(raw)
    layout = segment.Layout(*numbers[:4])
    if layout.rows < 1 << 16 and layout.num_bytes <= len(raw):
        sections = {name: (at, kind, shape) for name, (at, kind, shape) in layout.sections().items()}
        at, kind, shape = sections["vectors"]
        if layout.rows and layout.dim:
            found = np.frombuffer(raw, kind, int(np.prod(shape)), at).reshape(shape)
            sums = segment.row_sums(found).astype("<u8").tobytes()
            raw[sections["sums"][0] : sections["sums"][0] + len(sums)] = sums
        checksums = []
        for name in segment._CHECKED:
            at, kind, shape = sections[name]
            checksums.append(crc32(raw[at : at + kind.itemsize * int(np.prod(shape))]))
        struct.pack_into(f"<{len(checksums)}I", raw, size - 4 * len(checksums), *checksums)
    struct.pack_into("<I", raw, size, crc32(raw[:size]))
    place.write_bytes(raw)
    path = folder / "index" / MANIFEST
    said = json.loads(path.read_text())
    said["state"]["segments"][0]["crc"] = crc32(raw[:size])
    said["crc32"] = manifest._checksum(said["state"], said["meta"])
    path.write_text(json.dumps(said))
    write_on(folder)


def resealed_journal(folder: Path) -> None:
    """Read the journal with the checksums of what is in it, all of it acknowledged."""
    place = next((folder / "index").glob("journal-*"))
    raw = bytearray(place.read_bytes())
    first, head = journal.EMPTY, journal._RECORD
    if len(raw) >= first:
        struct.pack_into("<I", raw, journal._HEADER.size, crc32(raw[: journal._HEADER.size]))
        for at in (journal._SLOTS_AT, journal._SLOTS_AT + journal._SLOT_BYTES):
            slot = journal._slot(len(raw))
            raw[at : at + len(slot)] = slot
        at = first
        while at + head.size + 4 <= len(raw):
            mark, kind, count, length, _ = head.unpack_from(raw, at)
            start = at + head.size + 4
            head.pack_into(raw, at, mark, kind, count, length, crc32(raw[start : start + length]))
            struct.pack_into("<I", raw, at + head.size, crc32(raw[at : at + head.size]))
            at = start + length
        place.write_bytes(raw)
    write_on(folder)


def write_approximate(folder: Path) -> None:
    """A store large enough for an approximate index."""
    with open_store(folder / "index", DIM, create=True) as store:
        store.put([Item(str(i)) for i in range(1200)], rows(1200))
        assert store.build_index(show_progress=False).method == "approximate"


def read_approximate(folder: Path) -> Any:
    """Neighbours; where the index cannot be used they are found without it."""
    with open_store(folder / "index", read_only=True) as store:
        return repr([store.search(rows(count, 3), k) for count, k in ((1, 3), (5, 40))])


def write_cut_approximate(folder: Path) -> None:
    """The two parts of such an index, beside it."""
    write_approximate(folder)
    line, _, rest = next((folder / "index").glob("approximate-*")).read_bytes().partition(b"\n")
    (folder / "header.json").write_bytes(line)
    (folder / "arrays.bin").write_bytes(rest)


def resealed_approximate(folder: Path) -> None:
    """Neighbours through an index whose checksum is right."""
    rest, line = (folder / "arrays.bin").read_bytes(), (folder / "header.json").read_bytes().replace(b"\n", b" ")
    with suppress(ValueError, TypeError, RecursionError):
        line = json.dumps({**json.loads(line), "crc32": crc32(rest)}).encode()
    next((folder / "index").glob("approximate-*")).write_bytes(line + b"\n" + rest)
    read_approximate(folder)


def write_parquet(folder: Path) -> None:
    """What a store exports."""
    write_store(folder)
    with open_store(folder / "index") as store:
        store.export_parquet(folder / "photos.parquet")


def read_parquet(folder: Path) -> None:
    """Put it into a store."""
    store = MemoryStore(DIM)
    put_parquet(store, folder / "photos.parquet")
    store.items(), store.search(rows(1), 2)


@cache
def tiny_model() -> Any:
    """A small network, made once."""
    from tests.index.tiny import tiny_model as make

    return make()


class NamedStore(MemoryStore):
    """A store in memory that is called by a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(tiny_model().dim)
        self.location = str(path)


def write_settings(folder: Path) -> None:
    """The settings of an index with thresholds, as JSON."""
    store = NamedStore(folder / "settings.json")
    index = Index.create(tiny_model())
    index.store.put([Item(f"{i}", f"class {i % 4}") for i in range(24)], rows(24, dim=store.dim))
    index.calibrate(unseen=True)
    (folder / "settings.json").write_text(json.dumps({**index.store.meta(), "root": "/photos", "roots": ["/more"]}))


def read_settings(folder: Path) -> None:
    """An index of these settings, and what it is asked; what is no JSON object, a store has refused before."""
    try:
        settings = json.loads((folder / "settings.json").read_bytes())
    except (ValueError, RecursionError):
        return
    if not isinstance(settings, dict):
        return
    store = NamedStore(folder / "settings.json")
    store.put([Item(f"{i}", f"class {i % 4}") for i in range(24)], rows(24, dim=store.dim))
    store.set_meta(settings)
    index = Index(store, tiny_model())
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    index.search(picture, 3), index.root, index.mark, index.thresholds, repr(index)
    rates = [each.rate for each in index.thresholds.identify] if index.thresholds else []
    if rates and 0 < rates[0] < 1:
        index.identify(picture, fpir=rates[0])


def write_model_file(folder: Path) -> None:
    """A model in one file, of a run that was never trained."""
    from circlet.inference import load_model
    from circlet.inference.safetensors_file import save_safetensors
    from tests.export.made import make_run
    from tests.index.tiny import photos

    run = make_run(folder / "run", photos(folder / "photos", 8, 4))
    save_safetensors(load_model(run, device="cpu"), folder / "model.safetensors", counts={"train_classes": 4})


def read_model_file(folder: Path) -> Any:
    """Its digest, which is of the weights and all that vectors depend on."""
    from circlet.inference.safetensors_file import load_safetensors

    model = load_safetensors(folder / "model.safetensors", device="cpu")
    return model.digest


def thresholds() -> dict[str, Any]:
    """Of a run, as JSON."""
    from circlet.evaluate import choose_thresholds

    labels = torch.arange(6).repeat_interleave(4)
    chosen = choose_thresholds(torch.from_numpy(rows(24)), labels, fpirs=(0.1,), fars=(0.1,))
    return {"chosen_on": "6 classes", **chosen.to_json()}


BOUNDARY = "3f2a9c"


def write_upload(folder: Path) -> None:
    """The body of a request: a picture and a class."""
    import io

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(file, "JPEG")
    head = b'name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg'
    parts = [(b'name="label"', b"cat"), (head, file.getvalue())]
    body = b"".join(b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), *part)
                    for part in parts)  # fmt: skip
    (folder / "upload.bin").write_bytes(body + f"--{BOUNDARY}--\r\n".encode())


def read_upload(folder: Path) -> None:
    """Taken apart and decoded as the service does."""
    from circlet.serve.bodies import taken_apart
    from circlet.serve.limits import Limits
    from circlet.serve.names import checked_label
    from circlet.serve.pictures import Studio, small_picture
    from circlet.serve.refusal import Refusal

    path = folder / "upload.bin"
    studio = Studio(tiny_model().decoding, Limits())
    try:
        body = taken_apart(f"multipart/form-data; boundary={BOUNDARY}", path.read_bytes(), {})
        picture = body.picture("image")
        studio.pixels(picture)
        small_picture(picture, 64, "JPEG", 8)
        checked_label(body.texts.get("label", ""))
    except Refusal as refusal:
        raise ValueError(f"{path.name}: {refusal}") from refusal
    finally:
        studio.close()
