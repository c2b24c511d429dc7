"""`export`: a model as a file to deploy or to pass on, its record and its card; whole and checked, or nothing."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, NamedTuple

from circlet.export.card import facts_of, model_card
from circlet.export.images import images_of
from circlet.export.int8 import Quantised, quantised
from circlet.export.licences import checked_licence
from circlet.export.onnx_file import to_onnx
from circlet.export.record import (
    INT8,
    ONNX,
    SAFETENSORS,
    Record,
    default_folder,
    entry_of,
    of_model,
    read_record,
    write_card,
    write_record,
)
from circlet.files import write_atomically
from circlet.inference import Model
from circlet.inference.safetensors_file import save_safetensors
from circlet.locks import locked

To = Literal["onnx", "safetensors"]


class Export(NamedTuple):
    """What was written: the file; difference: of ONNX from the model, the largest of any number of a unit vector, on
    `compared_on`; int8: how, and what it costs; card: whether README.md was written, which stays where it was edited.
    """

    path: Path
    difference: float | None
    compared_on: str
    int8: Quantised | None
    card: bool


def export(
    model: Model,
    *,
    to: To = "onnx",
    int8: bool = False,
    out: str | Path | None = None,
    images: str | Path | None = None,
    licence: str | None = None,
    trust: Collection[str] = (),
) -> Export:
    """Write a model as ONNX or as one file for circlet, with export.json and README.md beside it.

    model: `circlet.load(run).model`, or `circlet.load` of a file or name. int8: ONNX in eight bits, calibrated on
    training images and measured on test classes. out: file; None: model.onnx, model-int8.onnx or model.safetensors in
    `export` of the run folder, or in NAME-export. images: to compare, calibrate and measure with, a folder or manifest;
    None: those of the run, or two photographs. licence: of the model, for the card. trust: as in `circlet.load`.

    Raises ValueError where the network cannot be exported, or the file gives other vectors than the model (above 1e-4);
    nothing is written then. ImportError without the extra, OSError for a folder that cannot be written to.
    """
    if int8 and to != "onnx":
        raise ValueError(f"int8: found with {to}, expected onnx: safetensors hold the model itself")
    if licence is not None:
        checked_licence(licence)
    if model.of_vectors and to == "onnx":
        raise ValueError(f"{model.name}: found a model of vectors, expected one of images for ONNX; --to safetensors "
                         "writes it as circlet.load reads it")  # fmt: skip
    name = SAFETENSORS if to == "safetensors" else INT8 if int8 else ONNX
    path = default_folder(model) / name if out is None else Path(out)
    _check_place(path, ".safetensors" if to == "safetensors" else ".onnx")
    read_record(path.parent)  # what is not ours is found before the work
    if to == "safetensors":
        return _finished(path, model, None, "", None, licence, trust)
    chosen = images_of(model, None if images is None else Path(images), to_quantise=int8, trust=trust)
    found = to_onnx(model, chosen.compared)
    eight = quantised(model, found.content, chosen) if int8 else None
    told = f"{found.num_images} {chosen.what}"
    content = found.content if eight is None else eight.content
    return _finished(path, model, found.difference, told, eight, licence, trust, content)


def _finished(
    path: Path,
    model: Model,
    difference: float | None,
    told: str,
    eight: Quantised | None,
    licence: str | None,
    trust: Collection[str],
    content: bytes | None = None,
) -> Export:
    """Write the file, what is known of it, and the card."""
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if content is None:
            save_safetensors(model, path, counts=counts_of(model), trust=trust)
        else:
            write_atomically(path, lambda file: file.write(content))
        more: dict[str, Any] = {} if difference is None else {"difference": difference, "compared_on": told}
        if eight is not None:
            more |= {"way": eight.way, "cosine": eight.cosine, "whole": eight.whole, "eight": eight.eight}
        record = write_record(folder, read_record(folder), path.name, entry_of(model, path, **more))
        card = write_model_card(folder, record, model, of_model(folder, record, model), licence)
    return Export(path, difference, told, eight, card)


def write_model_card(
    folder: Path, record: Record, model: Model, files: tuple[str, ...], licence: str | None = None
) -> bool:
    """README.md of what the folder has of this model; False where it is somebody's own, which stays.

    files: those of the model (`of_model`). licence: None: as it was said before.
    """
    if licence is not None:
        record = {**record, "licence": licence}
    if (licence := record.get("licence")) is not None:
        checked_licence(licence)
    facts = facts_of(model, licence=licence, files=files, int8=cost_of(record) if INT8 in files else None)
    return write_card(folder, record, model_card(facts))


def cost_of(record: Record) -> dict[str, float]:
    """What eight bits add to Recall@1 and MAP@R (or whatever was measured), by the record of model-int8.onnx."""
    if (entry := record["files"].get(INT8)) is None:
        return {}
    whole, eight = entry.get("whole") or {}, entry.get("eight") or {}
    both = {name: (whole[name], eight.get(name)) for name in whole}
    known = {name: after - before for name, (before, after) in both.items() if before is not None and after is not None}
    headline = [name for name in known if name in ("recall@1", "map@r", "rank-1", "mAP")]
    return {name: known[name] for name in headline or known}


def counts_of(model: Model) -> dict[str, int]:
    """Classes and images of a model's run, by the names of result.json; empty without them."""
    found = facts_of(model).result or {}
    names = ("train_classes", "train_images", "test_classes", "test_images")
    return {name: found[name] for name in names if isinstance(found.get(name), int)}


def _check_place(path: Path, suffix: str) -> None:
    """ValueError or OSError where the file cannot be made: before the work."""
    if path.suffix != suffix:
        raise ValueError(f"out: found {path}, expected a file that ends in {suffix}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: found a folder, expected a file or nothing (--out)")
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(f"{path.parent}: found a file, expected a folder (--out)")
