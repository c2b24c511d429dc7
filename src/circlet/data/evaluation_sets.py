"""Sets that are only tested on, beside the split contract: pairs of faces or videos, templates, identification.

Each is what the evaluation of the same name takes, with an `ImageSet` to be embedded first. None of them trains.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circlet.data.images import Bools, DataError, ImageSet, Ints

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Pairs of images, of the same person or not (LFW, AgeDB-30, CFP-FP).

    >>> from circlet.data import FileReader
    >>> images = ImageSet.from_classes(["ann", "ann", "bob"], ["1.jpg", "2.jpg", "3.jpg"], FileReader("faces", ()))
    >>> FacePairs(images, np.array([[0, 1], [0, 2]] * 2), np.array([True, False] * 2), num_folds=2).pairs.shape
    (4, 2)

    `pairs` (P, 2) index `images`; `is_same` (P,) bool; `num_folds` contiguous folds, each with pairs of both kinds. For
    `evaluate.verification`, which wants pair i in rows 2i and 2i + 1: `embeddings[pairs.ravel()]`.
    """

    images: ImageSet
    pairs: Ints
    is_same: Bools
    num_folds: int = 10

    def __post_init__(self) -> None:
        _check_pairs(self.pairs, self.is_same, len(self.images))
        _check_folds(self.num_folds, self.is_same)


@dataclass(frozen=True, eq=False)
class VideoPairs:
    """Pairs of videos, of the same person or not (YTF).

    A class of `frames` is a video; `pairs` (P, 2) are its labels. The embedding of a video is the mean over its frames,
    in unit length. The rest as in `FacePairs`.
    """

    frames: ImageSet
    pairs: Ints
    is_same: Bools
    num_folds: int = 10

    def __post_init__(self) -> None:
        _check_pairs(self.pairs, self.is_same, self.frames.num_classes)
        _check_folds(self.num_folds, self.is_same)


@dataclass(frozen=True, eq=False)
class Templates:
    """Sets of images of one person each, and pairs of such sets (IJB-C, 1:1).

    `template_ids` and `media_ids` (M,) say where image i belongs; `pairs` (P, 2) are template ids and `is_same` (P,)
    bool, both kinds present. `landmarks` (M, 5, 2) are x and y in pixels of eyes, nose and corners of the mouth, to
    align the face by; `detector_scores` (M,) weigh the embeddings. A class of `images` is a template.
    """

    images: ImageSet
    template_ids: Ints
    media_ids: Ints
    pairs: Ints
    is_same: Bools
    landmarks: Floats
    detector_scores: Floats

    def __post_init__(self) -> None:
        num_images = len(self.images)
        for field, shape in (
            ("template_ids", (num_images,)),
            ("media_ids", (num_images,)),
            ("landmarks", (num_images, 5, 2)),
            ("detector_scores", (num_images,)),
        ):
            if (found := getattr(self, field).shape) != shape:
                raise DataError(f"{field}: found {found}, expected {shape}")
        _check_pairs(self.pairs, self.is_same, None)
        if self.is_same.all() or not self.is_same.any():
            raise DataError(
                f"is_same: found {self.is_same.sum()} of {len(self.pairs)} pairs the same, expected both kinds"
            )
        if (absent := np.unique(self.pairs[~np.isin(self.pairs, self.template_ids)])).size:
            raise DataError(f"pairs: found {absent.size} templates without an image (the first is {absent[0]})")


@dataclass(frozen=True, eq=False)
class Identification:
    """Probes that look for their own person among distractors (MegaFace, challenge 1).

    A class of `probes` is a person; none of the persons in `distractors` is among them.
    """

    probes: ImageSet
    distractors: ImageSet

    def __post_init__(self) -> None:
        for field in ("probes", "distractors"):
            if not len(getattr(self, field)):
                raise DataError(f"{field}: found no image, expected at least one")
        if self.probes.num_classes == len(self.probes):
            raise DataError(f"probes: found {len(self.probes)} persons of one image each, expected one of two at least")


def _check_pairs(pairs: Ints, is_same: Bools, num_items: int | None) -> None:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise DataError(f"pairs: found {pairs.dtype} {pairs.shape}, expected integers (P, 2), at least one")
    if is_same.shape != (len(pairs),) or is_same.dtype != np.bool_:
        raise DataError(f"is_same: found {is_same.dtype} {is_same.shape}, expected bool ({len(pairs)},)")
    if num_items is not None and not (pairs.min() >= 0 and pairs.max() < num_items):
        raise DataError(f"pairs: found {pairs.min()}..{pairs.max()}, expected 0..{num_items - 1}")


def _check_folds(num_folds: int, is_same: Bools) -> None:
    """As `evaluate.verification` demands, but when the set is opened and not after a training."""
    if not 2 <= num_folds <= len(is_same):
        raise DataError(f"num_folds: found {num_folds} for {len(is_same)} pairs, expected 2..{len(is_same)}")
    for number, fold in enumerate(np.array_split(is_same, num_folds), 1):
        if fold.all() or not fold.any():
            raise DataError(f"is_same: found {fold.sum()} of the {len(fold)} pairs of fold {number} the same, expected "
                            "both kinds in each fold")  # fmt: skip
