"""Training classes embedded as unseen ones are, to choose thresholds on: of those held out of the training.

A run with `data.validation_share` has such classes. One in stages has them by folds, each embedded by a head that was
fitted to the others (cross-fitting), or where the network was trained, those that judged it. What is approximate: the
final head is fitted to all of them, a third more classes than that of a fold; and they have chosen stages, mixture or
checkpoint, a few choices among many classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.data import ImageSet
from circlet.data.pixels import Pixels
from circlet.data.query_gallery import TestSet
from circlet.evaluate import Thresholds, choose_thresholds
from circlet.training import RunFolder
from circlet.transfer import Frozen, Unseen

THRESHOLDS = "thresholds.json"


class HeldOut(NamedTuple):
    """Embeddings (n, dim), labels (n,), the part (n,) within which rows may be compared, groups (n,) if there are any.

    how: in words, how they were held out.
    """

    embeddings: Tensor
    labels: Tensor
    parts: Tensor
    groups: Tensor | None
    how: str


class Chosen(NamedTuple):
    """The thresholds of a run; None where there are none. sentence: on what they were chosen, or why there are none."""

    thresholds: Thresholds | None
    sentence: str

    def told(self, promise: str | None) -> str:
        """With what came of them on the test classes."""
        if promise is None:
            return self.sentence
        return f"{self.sentence} On the test classes: {promise[0].lower()}{promise[1:]}"


def held_out_images(embeddings: Tensor, images: ImageSet) -> HeldOut:
    """Images of validation classes, all embedded by one model."""
    how = f"{images.num_classes} classes held out of the training"
    groups = None if images.groups is None else torch.from_numpy(images.groups)
    labels = torch.from_numpy(images.labels)
    return HeldOut(embeddings, labels, torch.zeros_like(labels), groups, how)


def held_out_in_parts(frozen: Frozen, pixels: Pixels, unseen: tuple[Unseen, ...]) -> HeldOut:
    """Training images, each part by the head that has not seen its classes."""
    rows = torch.tensor([row for part in unseen for row in part.rows])
    parts = torch.tensor([number for number, part in enumerate(unseen) for _ in part.rows])
    found = torch.cat(frozen.embeddings_in_parts(pixels, [(part.rows, part.head) for part in unseen]))
    images = pixels.images
    labels = torch.from_numpy(images.labels)[rows]
    groups = None if images.groups is None else torch.from_numpy(images.groups)[rows]
    number = len(labels.unique())
    how = f"{number} training classes, each embedded by a head that was fitted to others"
    if len(unseen) == 1:
        whole = len(rows) == len(pixels)
        how = f"{number} training classes{', of which the network has seen none' if whole else ' held out of it'}"
    return HeldOut(found, labels, parts, groups, how)


def chosen_thresholds(held_out: HeldOut | None, test_set: TestSet, folder: RunFolder) -> Chosen:
    """Thresholds, kept in the run folder as thresholds.json.

    For as many enrolled classes as there are in the test when one of them is unknown, so that it can say how they hold.
    """
    if held_out is None:
        (folder.path / THRESHOLDS).unlink(missing_ok=True)
        return Chosen(None, "No thresholds: no training class was held out to choose them on, which "
                            "--data.validation-share 0.2 does.")  # fmt: skip
    searched = test_set.searched.images
    number = len({name for name, junk in zip(searched.labels, searched.is_junk(), strict=True) if not junk})
    try:
        found = choose_thresholds(
            held_out.embeddings,
            held_out.labels,
            folds=held_out.parts,
            groups=held_out.groups,
            gallery_classes=max(number - 1, 1),
        )
    except ValueError as error:
        (folder.path / THRESHOLDS).unlink(missing_ok=True)
        return Chosen(None, f"No thresholds: {held_out.how} do not do to choose them on ({error}).")
    folder.write_json(THRESHOLDS, {"chosen_on": held_out.how, **found.to_json()})
    return Chosen(found, f"Thresholds were chosen on {held_out.how}.")


def thresholds_of(folder: RunFolder) -> Thresholds | None:
    """What a run folder has; None where it has none. ValueError, naming file and key, for what is none."""
    path = folder.path / THRESHOLDS
    if not path.exists():
        return None
    content = folder.read_json(THRESHOLDS)
    try:
        return Thresholds.from_json(content, "")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
