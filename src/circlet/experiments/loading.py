"""From an experiment's description to its images: the splits, and their pixels in the roles of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from circlet.data import DataError, Splits, hold_out_classes, straddling
from circlet.data.catalogue import find_data_set
from circlet.data.copies import settled
from circlet.data.notes import say_once
from circlet.data.pixels import Pixels, load_pixels
from circlet.data.query_gallery import TestSet, load_test_set
from circlet.distributed import is_rank_0
from circlet.experiments.answerable import has_match, require_matches, require_matches_across_cameras
from circlet.experiments.experiment import DataConfig, Task
from circlet.files import write_text
from circlet.terminal import printable


def build_splits(config: DataConfig, *, settle: bool = True) -> Splits:
    """The images of an experiment, in their roles; with `settle`, of those that `each_once` is for, each once."""
    entry = find_data_set(config.source)
    if config.root is None and entry.needs_path:
        raise ValueError(f"data.root: found none, expected the path of the {config.source} (--data.root PATH)")
    options: dict[str, Any] = {"seed": config.seed, "held_out": config.test_share}
    options = {name: value for name, value in options.items() if entry.accepts(name)}
    if config.source == "manifest":
        options["root"] = config.images
    for name, value, of in (
        ("time_split", config.time_split, "manifest"),
        ("closed_set", config.closed_set or None, "manifest or folder"),
        ("test_shards", config.test_shards, "shards"),
    ):
        if value is not None:
            if not entry.accepts(name):
                raise ValueError(f"data.{name}: found with the source {config.source}, expected {of}")
            options[name] = value
    splits = entry.open_splits(config.root, **options)
    return each_once(splits, config) if settle else splits


def each_once(splits: Splits, config: DataConfig) -> Splits:
    """Images of the source that `config` names, each once in its role (`settled`); of published sets and of shards as
    they are.
    """
    entry = find_data_set(config.source)
    if entry.counts or entry.streamed:
        return splits
    return settled(splits, entry.place(config.root), on_error=config.on_error)


def check_task(task: Task, splits: Splits) -> None:
    """DataError where the data cannot be tested by that task, so that it is found before the training."""
    if task == "reid":
        require_matches_across_cameras(splits)
    else:
        require_matches(splits)


def warn_of_straddling(splits: Splits, data: DataConfig | None = None) -> None:
    """Say on standard error which groups and which copies of a file are on both sides of the split.

    data: what the splits were built from (`build_splits`), if they were: then files are not read again where `settled`
    has told of them.
    """
    told = data is not None and not find_data_set(data.source).counts
    for sentence in straddling(splits, files=not told):
        say_once(f"warning: {sentence}")


class RunData(NamedTuple):
    """What a rank needs: training images on all, the others on rank 0 alone; and the splits that they come from."""

    train: Pixels
    test: TestSet | None
    validation: Pixels | None
    splits: Splits

    @property
    def train_counts(self) -> dict[str, int]:
        """How many classes and images to train on, by the names of data.json."""
        return {"train_classes": self.train.images.num_classes, "train_images": len(self.train)}

    def counts(self) -> dict[str, int]:
        """How many images of how many classes, by the names of result.json; on rank 0, which has those to test on."""
        assert self.test is not None
        tested = {"test_classes": self.test.query.images.num_classes, "test_images": len(self.test.query)}
        return {**self.train_counts, **tested, "skipped_images": len(self.broken)}

    @property
    def broken(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of each image that was left out."""
        parts = (self.train, self.test, self.validation)
        return tuple(item for part in parts if part is not None for item in part.broken)


def load_run_data(config: DataConfig, splits: Splits) -> RunData:
    """The pixels of a run; `validation_share` of the training classes are held out of the training."""
    train, validation = splits.train, None
    if config.validation_share:
        train, validation = hold_out_classes(splits.train, config.validation_share)
        if not has_match(validation):
            raise DataError(f"data.validation_share: found {validation.num_classes} classes held out of the training, "
                            "none with two images that could find each other, expected a larger share")  # fmt: skip
    training = load_pixels(train, config.decoding)
    if not is_rank_0():
        return RunData(training, None, None, splits)
    test_set = load_test_set(splits, config.decoding)
    validated = None if validation is None else load_pixels(validation, config.decoding)
    return RunData(training, test_set, validated, splits)


def load_lazily(config: DataConfig, splits: Splits) -> RunData:
    """The images of a run; none is decoded before it is asked for, none held out of the training to validate."""
    return load_run_data(replace(config, in_memory=False, validation_share=0.0), splits)


def list_broken(data: RunData, path: Path) -> None:
    """Write the images that were left out into a file, a line each: name, tab, reason; no file where there are none."""
    if data.broken:
        write_text(path, "".join(f"{printable(name)}\t{printable(reason)}\n" for name, reason in data.broken))
