"""The images of an export: some to compare with the model, some to calibrate int8 on, some to say what it costs.

Of a run, these are its test images, its training images and its test images again; test classes calibrate nothing.
Images that are given stand in for all of them, half of their classes to calibrate on. For a network by its name there
is a photograph that comes with matplotlib, which is enough to compare it.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from circlet.data import DataError, ImageSet, Splits, every_image, hold_out_classes
from circlet.data.decoded import are_files, decode_all
from circlet.data.query_gallery import TestSet, load_test_set
from circlet.experiments import Experiment, check_task, open_run, splits_of
from circlet.inference import Model, image_set

NUM_COMPARED, NUM_CALIBRATED, NUM_CHOSEN = 32, 128, 64
_SAMPLE = "sample_data/grace_hopper.jpg"  # 512 x 600
_CROPS = ((0, 0, 512), (0, 88, 512), (0, 0, 300), (200, 0, 300), (0, 200, 300), (212, 300, 300), (100, 40, 220),
          (150, 60, 120), (20, 380, 220), (290, 380, 200))  # fmt: skip
"""Left, top and side, of a picture, a face, a uniform."""


class ExportImages(NamedTuple):
    """Images of an export. compared, calibrated, chosen: uint8 (n, channels, height, width), the last two training
    images, or None where none were asked for; test: of the run, and its settings; what: of which images, in words.
    """

    compared: Tensor
    calibrated: Tensor | None
    chosen: Tensor | None
    test: TestSet | None
    experiment: Experiment
    what: str


def images_of(
    model: Model, images: Path | None = None, *, to_quantise: bool = False, trust: Collection[str] = ()
) -> ExportImages:
    """The images for an export of the model.

    images: a folder or a manifest, instead of those of the run. to_quantise: what int8 needs too. trust: as in
    `circlet.load`.

    Raises ValueError where images of the run are not there, where there are none to quantise by, and what reading them
    raises.
    """
    if images is not None:
        return _given(model, every_image(images), str(images), to_quantise=to_quantise)
    if model.source is not None and model.source.is_dir():
        return _of_run(model, model.source, trust, to_quantise=to_quantise)
    if to_quantise:
        raise ValueError(f"{model.name}: int8 needs images to be calibrated and measured on, expected a folder with a "
                         "folder for each class (--images FOLDER)")  # fmt: skip
    return ExportImages(_decoded(model, _samples(), 10), None, None, None, Experiment(), "crops of a photograph")


def _of_run(model: Model, run: Path, trust: Collection[str], *, to_quantise: bool) -> ExportImages:
    folder, experiment = open_run(run, trust, needed=("data.source", "model.backbone"))
    try:
        splits = splits_of(folder, experiment, to_train=to_quantise)
    except (ValueError, OSError) as error:
        raise ValueError(f"{run}: its images, to compare the export with the model, were not found ({error}); expected "
                         "them where they were, or others (--images FOLDER)") from error  # fmt: skip
    compared = _decoded(model, splits.query, NUM_COMPARED)
    what = "test images of the run"
    if not to_quantise:
        return ExportImages(compared, None, None, None, experiment, what)
    return _to_quantise(model, compared, splits, experiment, what)


def _given(model: Model, images: ImageSet, where: str, *, to_quantise: bool) -> ExportImages:
    if not len(images):
        raise DataError(f"{where}: found no image, expected some to compare the export with the model")
    compared = _decoded(model, images, NUM_COMPARED)
    if not to_quantise:
        return ExportImages(compared, None, None, None, Experiment(), f"images of {where}")
    if images.num_classes < 2:
        raise DataError(f"{where}: found {images.num_classes} class, expected a folder for each of at least two "
                        "classes: half of them to calibrate int8 on, the others to measure it")  # fmt: skip
    train, test = hold_out_classes(images, 0.5)
    return _to_quantise(model, compared, Splits(train, test), Experiment(), f"images of {where}")


def _to_quantise(model: Model, compared: Tensor, splits: Splits, experiment: Experiment, what: str) -> ExportImages:
    if experiment.task == "face":
        experiment = replace(experiment, task="retrieval")
    check_task(experiment.task, splits)
    decoding = replace(model.decoding, on_error=experiment.data.on_error)
    train = _decoded(model, splits.train, NUM_CALIBRATED + NUM_CHOSEN)
    every_third = torch.arange(len(train)) % 3 == 2
    chosen = train[every_third] if every_third.any() else train
    return ExportImages(compared, train[~every_third], chosen, load_test_set(splits, decoding), experiment, what)


def _decoded(model: Model, images: ImageSet, count: int) -> Tensor:
    """Evenly chosen images of the set that can be read: uint8 (up to `count`, channels, height, width)."""
    order = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    form, chosen = model.decoding, images.subset(order)
    found = decode_all(
        chosen, size=form.size, channels=form.channels, fit=form.fit, interpolation=form.interpolation,
        max_megapixels=form.max_megapixels, num_workers=None if are_files(chosen) else 0, on_error="skip",
    )  # fmt: skip
    if not len(found.images):
        why = found.broken[-1][1] if found.broken else "the set is empty"
        raise DataError(f"found no image that can be read ({why}), expected some")
    return found.images


def _samples() -> ImageSet:
    """Parts of matplotlib's photograph, at several sizes."""
    import matplotlib

    with Image.open(Path(matplotlib.get_data_path()) / _SAMPLE) as whole:
        photo = whole.convert("RGB")
    return image_set([photo.crop((left, top, left + side, top + side)) for left, top, side in _CROPS])
