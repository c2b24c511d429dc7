"""Many images to uint8 tensors: as a torch data set for loader workers, or all at once into memory.

What a single image becomes is settled in `decode`. Nothing is cached on disk here.
"""

import copy
from collections.abc import Iterator
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from circlet.data.ahead import map_ahead, num_cores, num_threads
from circlet.data.decode import Fit, Form, Interpolation, Pixels, decode_noting
from circlet.data.images import DataError, ImageSet, Ints
from circlet.data.open_image import MAX_MEGAPIXELS
from circlet.data.readers import file_of
from circlet.resources import loaded

# Below this many images a worker takes longer to start than its share of the work takes.
_IMAGES_PER_WORKER = 2048
_BATCH = 32


class DecodedImages(Dataset[tuple[torch.Tensor, int, int]]):
    """Torch data set of an `ImageSet`: item i is (uint8 tensor (channels, H, W), label, i); see `decode`.

    >>> from circlet.data import glyphs
    >>> images = DecodedImages(glyphs().train, size=(32, 32), channels=1)
    >>> pixels, label, index = images[21]
    >>> tuple(pixels.shape), label, index
    ((1, 32, 32), 1, 21)
    """

    def __init__(
        self,
        image_set: ImageSet,
        *,
        size: tuple[int, int],
        channels: int = 3,
        fit: Fit = "stretch",
        interpolation: Interpolation = "bicubic",
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self.image_set = image_set
        self._form = Form(size, channels, fit, interpolation, max_megapixels)
        self._form.check()

    def of(self, image_set: ImageSet) -> Self:
        """The same of other images."""
        found = copy.copy(self)
        found.image_set = image_set
        return found

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        """Decode item `index`; a file that cannot be decoded is a DataError."""
        pixels, _ = decode_noting(self.image_set, index, self._form)
        return torch.from_numpy(pixels), int(self.image_set.labels[index]), index


class Decoded(NamedTuple):
    """Images in memory: `images` (M, channels, H, W) uint8, `kept` (M,) their indices, `broken` (name, reason) each.

    damaged_exif: the names of images whose EXIF data are damaged, and were passed over.
    """

    images: torch.Tensor
    kept: Ints
    broken: list[tuple[str, str]]
    damaged_exif: list[str]


def decode_all(
    image_set: ImageSet,
    *,
    size: tuple[int, int],
    channels: int = 3,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bicubic",
    max_megapixels: float = MAX_MEGAPIXELS,
    num_workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> Decoded:
    """Decode a whole set into memory, in order; for sets of which the pixels fit.

    >>> from circlet.data import glyphs
    >>> decode_all(glyphs().query.subset(range(3)), size=(16, 16), channels=1).images.shape
    torch.Size([3, 1, 16, 16])

    A file that cannot be decoded is a DataError; with `on_error="skip"` it is listed in `broken` instead, and
    `image_set.subset(kept)` has the labels that fit `images`. `num_workers` None decodes files in threads, and other
    images in loader workers, where the set is big enough that they pay. The progress bar shows on a terminal only.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error: found {on_error!r}, expected 'raise' or 'skip'")
    form = Form(size, channels, fit, interpolation, max_megapixels)
    form.check()
    images = torch.empty((len(image_set), channels, *size), dtype=torch.uint8)
    kept: list[int] = []
    broken: list[tuple[str, str]] = []
    damaged: list[str] = []
    for index, outcome in enumerate(_each(_Outcomes(image_set, form), num_workers, progress)):
        if isinstance(outcome, str):
            if on_error == "raise":
                raise DataError(outcome)
            broken.append((image_set.names[index], outcome))
        else:
            pixels, is_damaged = outcome
            images[len(kept)] = torch.from_numpy(pixels)
            kept.append(index)
            damaged += [image_set.names[index]] * is_damaged
    return Decoded(images[: len(kept)], np.array(kept, dtype=np.int64), broken, damaged)


class Checked(NamedTuple):
    """What a set was found to have, as in `Decoded`: `broken`, (name, reason) each, and `damaged_exif`, names."""

    broken: list[tuple[str, str]]
    damaged_exif: list[str]


def find_broken(image_set: ImageSet, *, num_workers: int | None = None, progress: bool = True) -> list[tuple[str, str]]:
    """List (name, reason) of every image that is missing or cannot be decoded, without keeping pixels."""
    return check_images(image_set, num_workers=num_workers, progress=progress).broken


def check_images(
    image_set: ImageSet,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    num_workers: int | None = None,
    progress: bool = True,
) -> Checked:
    """Decode every image of a set and keep no pixels."""
    found = Checked([], [])
    outcomes = _each(_Outcomes(image_set, Form((1, 1), max_megapixels=max_megapixels)), num_workers, progress)
    for name, outcome in zip(image_set.names, outcomes, strict=True):
        if isinstance(outcome, str):
            found.broken.append((name, outcome))
        elif outcome[1]:
            found.damaged_exif.append(name)
    return found


Outcome = tuple[Pixels, bool] | str


class _Outcomes(Dataset[Outcome]):
    """Data set whose item is what `decode_noting` gives, or the reason why there are no pixels."""

    def __init__(self, image_set: ImageSet, form: Form) -> None:
        self.image_set, self.form = image_set, form

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> Outcome:
        try:
            return decode_noting(self.image_set, index, self.form)
        except DataError as error:
            return str(error)


def are_files(image_set: ImageSet) -> bool:
    """Whether the images are files, which threads may decode side by side (`circlet.data.readers`)."""
    return len(image_set) > 0 and file_of(image_set.read, 0) is not None


def _each(outcomes: _Outcomes, num_workers: int | None, progress: bool) -> Iterator[Outcome]:
    """Yield every outcome in order, from as many threads or workers as asked or as pay."""
    from tqdm import tqdm

    with tqdm(total=len(outcomes), desc="decode", unit="image", disable=None if progress else True) as bar:
        if num_workers is None and are_files(outcomes.image_set):
            for outcome in map_ahead(outcomes.__getitem__, len(outcomes), threads=num_threads(), ahead=_BATCH):
                yield outcome
                bar.update()
            return
        if num_workers is None:
            workers = min(len(outcomes) // _IMAGES_PER_WORKER, num_cores())
            num_workers = workers if workers > 1 else 0
        # Lists of arrays travel through a pipe; a tensor each would take a file descriptor each.
        batches = DataLoader(outcomes, batch_size=_BATCH, num_workers=num_workers, collate_fn=list)
        for batch in loaded(batches):
            yield from batch
            bar.update(len(batch))
