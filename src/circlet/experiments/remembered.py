"""What a run was trained and tested on: class names in label order and image names, kept in its folder as splits.json.

Sources without a split of their own draw one from what is on the disk, so that a folder more would draw another. A run
therefore keeps its own when its training begins, and whatever is done with it later goes by that (`in_roles` says what
happens where the disk has changed). Images are known by class and name: one of other content under its old name is
not noticed. Of a run without lists, the numbers of classes and images are compared: so it is for one of an earlier
version, and of many millions of images.

    {"closed_set": false, "validation": ["ant"],             training classes that chose the checkpoint
     "train": {"classes": ["ant", "bee"],                    in the order of their labels
               "images": [["ant", ["ant/1.png", ...]], ...]}, in the order of the images: names of one class in a row
     "query": ..., "gallery": ...}                            gallery: only where there is one

About 30 bytes an image in all: 3 MB for 100,000 images.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

from circlet.data import Splits, hold_out_classes
from circlet.data.images import ImageSet
from circlet.distributed import is_rank_0
from circlet.experiments.experiment import DataConfig, Experiment
from circlet.experiments.loading import RunData, build_splits, each_once
from circlet.experiments.regrouped import Listed, in_roles
from circlet.experiments.resuming import Change, keep_changes
from circlet.files import MAX_JSON_BYTES, MAX_VALUES, read_json, write_text
from circlet.terminal import say
from circlet.training import RunFolder
from circlet.typed import shown

SPLITS = "splits.json"
_ROLES = ("train", "query", "gallery")
_DRAWN_BY = ("source", "root", "images", "test_share", "time_split", "closed_set", "seed")


class _Role(TypedDict):
    classes: list[str]
    images: list[Any]  # [class, [names]] each; checked at once, for they are many


class _Content(TypedDict):
    closed_set: bool
    validation: list[str]
    train: _Role
    query: _Role
    gallery: NotRequired[_Role]


class _Counts(TypedDict):
    """Of data.json and result.json."""

    train_classes: NotRequired[int]
    train_images: NotRequired[int]
    test_classes: NotRequired[int]
    test_images: NotRequired[int]
    skipped_images: NotRequired[int]


class Remembered(NamedTuple):
    """The images of a run by name, in their roles; validation: its training classes that chose a checkpoint."""

    roles: dict[str, Listed]
    closed_set: bool
    validation: tuple[str, ...]


def splits_of(
    folder: RunFolder, experiment: Experiment, data: Splits | None = None, *, to_train: bool = False
) -> Splits:
    """The images of a run in the roles that they had when its training began; of a new run, as they are drawn.

    data: where to find them; None: where the experiment says. to_train: the training images must all be there, and no
    others in their classes. Else `train` stands for nothing: only query and gallery are those of the run.

    ValueError where images of the run are not there any more, or where it is older than such lists and other numbers
    of images are found; what is new is named on standard error, and left out.
    """
    path = folder.path / SPLITS
    if path.exists():
        return _as_kept(path, experiment.data, data, to_train=to_train)
    counts = _counts_of(folder)
    if counts is None:  # nothing has been trained
        return build_splits(experiment.data) if data is None else data
    found = build_splits(experiment.data, settle=False) if data is None else data
    try:
        _compare_counts(counts, experiment, found)
    except ValueError:
        if data is not None:
            raise
        found = build_splits(experiment.data)  # this version has counted no copies, earlier ones have
        _compare_counts(counts, experiment, found)
    if not to_train:
        _say_unchecked(folder)
    return found


def begin(
    folder: RunFolder, experiment: Experiment, data: RunData, changes: Mapping[str, Change] | None = None
) -> None:
    """The training begins or goes on: its images are written down, or are what is written there.

    data: loaded from what `splits_of` gave. changes: of the settings of a run that goes on, kept now that nothing is
    left to fail (`keep_changes`); `experiment` has the settings as they are then. To be called under the lock of the
    folder. ValueError where a run that goes on would leave out another number of unreadable images than before, or
    validate on other classes, and for changes that it cannot follow.
    """
    validation = () if data.validation is None else data.validation.images.class_names
    path, counts = folder.path / SPLITS, folder.path / "data.json"
    if folder.last.exists() and counts.exists() and (before := folder.read_json("data.json")) != data.train_counts:
        raise ValueError(f"{counts}: found {_told(data.train_counts)} that can be read now, expected {_told(before)}, "
                         "as when the run began (skipped.txt lists those that cannot); put them back as they were, or "
                         "start a new run")  # fmt: skip
    if not path.exists():
        if folder.last.exists():
            _say_unchecked(folder)
        remember(path, data.splits, validation)
    elif (kept := read_remembered(path).validation) != validation and folder.last.exists():
        raise ValueError(f"{path}: found other validation classes than the run began with ({len(validation)}, expected "
                         f"{len(kept)}, such as {next(iter(set(validation) ^ set(kept)))!r}): the groups of the images "
                         "may have changed; put them back as they were, or start a new run")  # fmt: skip
    keep_changes(folder, changes or {}, experiment)
    folder.begin(data.train_counts)


def common_splits(folder: Path, config: DataConfig, *, keep: bool = False) -> Splits:
    """The images of all the runs below `folder` that draw them alike: those that the first of them began with.

    keep: write them down if nobody has, in splits-<digest>.json. ValueError and sentences as of `splits_of`.
    """
    names = (*_DRAWN_BY, "test_shards") if config.test_shards else _DRAWN_BY
    drawn_by = json.dumps([str(getattr(config, name)) for name in names])
    path = folder / f"splits-{hashlib.sha256(drawn_by.encode()).hexdigest()[:8]}.json"
    if path.exists():
        return _as_kept(path, config, None, to_train=True)
    found = build_splits(config)
    if keep:
        folder.mkdir(parents=True, exist_ok=True)
        remember(path, found)
    return found


def _as_kept(path: Path, config: DataConfig, data: Splits | None, *, to_train: bool) -> Splits:
    """The images that `path` lists, from the disk or from `data`; copies are settled among them, not among all."""
    kept = read_remembered(path)
    found = build_splits(config, settle=False) if data is None else data
    splits = in_roles(path, kept.roles, found, closed_set=kept.closed_set, to_train=to_train)
    return each_once(splits, config) if data is None else splits


def remember(path: Path, splits: Splits, validation: Sequence[str] = ()) -> None:
    """Write the images of a run down, atomically; where they are more than a file may hold, nothing is written."""
    roles = {role: _rows(images) for role in _ROLES if (images := getattr(splits, role)) is not None}
    content = {"closed_set": splits.closed_set, "validation": list(validation), **roles}
    text = json.dumps(content, separators=(",", ":")) + "\n"  # ASCII: names need not be valid Unicode
    if len(text) <= MAX_JSON_BYTES and sum(map(text.count, ",[{")) <= MAX_VALUES:
        write_text(path, text)


def read_remembered(path: Path) -> Remembered:
    """What `remember` wrote; a ValueError that names the file and the part for anything else."""
    content = read_json(path, _Content)
    roles = {role: _listed(content[role], f"{path}: {role}") for role in _ROLES if role in content}
    return Remembered(roles, content["closed_set"], tuple(content["validation"]))


def _rows(images: ImageSet) -> dict[str, Any]:
    listed = Listed.of(images)
    runs = groupby(zip(listed.labels, listed.names, strict=True), key=lambda pair: pair[0])
    rows = [[images.class_names[label], [name for _, name in run]] for label, run in runs]
    return {"classes": list(images.class_names), "images": rows}


def _listed(content: _Role, where: str) -> Listed:
    classes = content["classes"]
    label_of = {name: label for label, name in enumerate(classes)}
    labels: list[int] = []
    names: list[str] = []
    for row in content["images"]:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and _are_names(row[1])):
            raise ValueError(f"{where}.images: found {shown(row)}, expected [class, [names]]")
        if row[0] not in label_of:
            raise ValueError(f"{where}.images: found the class {shown(row[0])}, expected one of classes")
        labels += [label_of[row[0]]] * len(row[1])
        names += row[1]
    if not names or len(set(labels)) < len(classes):
        raise ValueError(f"{where}: found {len(names)} images of {len(set(labels))} among {len(classes)} classes, "
                         "expected some of each")  # fmt: skip
    return Listed(tuple(classes), tuple(labels), tuple(names))


def _are_names(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(name, str) for name in content)


class _Known(NamedTuple):
    """How many images a run had, and in which file that stands; its name is empty where it stands in none."""

    folder: Path
    name: str
    counts: _Counts


def _counts_of(folder: RunFolder) -> _Known | None:
    """What is known of a run without lists; None where nothing has been trained."""
    for name in ("result.json", "data.json"):
        if (folder.path / name).exists():
            return _Known(folder.path, name, cast(_Counts, read_json(folder.path / name, _Counts)))
    return _Known(folder.path, "", {}) if folder.last.exists() else None


def _compare_counts(known: _Known, experiment: Experiment, splits: Splits) -> None:
    """ValueError where a run without lists was of other numbers of classes or images."""
    counts: Mapping[str, Any] = known.counts
    drawn, config = splits.train, experiment.data
    if config.validation_share and not experiment.transfer.stages:
        drawn, _ = hold_out_classes(drawn, config.validation_share)
    sets = {"train": drawn, "test": splits.query}
    now = {f"{role}_classes": images.num_classes for role, images in sets.items()}
    now |= {f"{role}_images": len(images) for role, images in sets.items()}
    skipped = counts.get("skipped_images", math.inf if config.on_error == "skip" else 0)
    for name in now.keys() & counts.keys():  # those of a run are without the images that could not be read
        if not 0 <= now[name] - counts[name] <= skipped:
            raise ValueError(f"{known.folder}: found {_told(now)} on the disk, expected {_told(counts)} as in "
                             f"{known.name}: classes or images were added or taken away since the run began, so other "
                             "classes would be held out than those that it has not seen; put them back as they "
                             "were")  # fmt: skip


def _say_unchecked(folder: RunFolder) -> None:
    if is_rank_0():
        say(f"warning: {folder.path}: no {SPLITS} in it, as of an earlier version, or of too many images for one: "
            "whether its classes and images are still those on the disk is told from their numbers alone")  # fmt: skip


def _told(counts: Mapping[str, Any]) -> str:
    titles = {"train": "training", "test": "test"}
    return " and ".join(
        f"{counts[f'{role}_images']} images of {counts[f'{role}_classes']} {title} classes"
        for role, title in titles.items()
        if {f"{role}_images", f"{role}_classes"} <= counts.keys()
    )
