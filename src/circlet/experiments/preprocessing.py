"""What an experiment leaves to the weights of its network: sizes, mean, standard deviation, interpolation, crop."""

from dataclasses import replace

from circlet.data import Splits
from circlet.data.vector_files import vector_dim
from circlet.data.vector_reader import vectors_of
from circlet.experiments.experiment import Experiment
from circlet.models import preprocessing_of


def resolved(experiment: Experiment, splits: Splits | None = None) -> Experiment:
    """The experiment with nothing left open: each None among these is what the network's weights were made with.

    >>> from circlet.recipes import folder
    >>> found = resolved(folder(root="photos"))
    >>> found.model.size, found.model.mean, found.data.size
    ((224, 224), (0.5, 0.5, 0.5), (256, 256))

    Of vectors it is their length, looked up in `splits` if they are given, else in the file.

    A size of the model that is given stays, and its images are decoded as much larger as the weights expect it.
    ValueError where the network expects nothing by itself, such as one from random weights, or one of your own.
    """
    model, data = experiment.model, experiment.data
    if data.of_vectors:
        return experiment if data.size is not None else _of_vectors(experiment, splits)
    settings = {name: getattr(model, name) for name in ("size", "mean", "std", "crop_share")}
    open_ones = [f"model.{name}" for name, value in settings.items() if value is None]
    open_ones += [f"data.{name}" for name in ("size", "interpolation") if getattr(data, name) is None]
    if not open_ones:
        return experiment
    expected = preprocessing_of(model.backbone, channels=data.channels)
    if expected is None:
        flags = " ".join(f"--{name.replace('_', '-')}" for name in open_ones)
        raise ValueError(f"{open_ones[0]}: found none with backbone {model.backbone}, which does not say what images "
                         f"it expects; give {flags}")  # fmt: skip
    size = model.size or expected.size
    crop_share = expected.crop_share if model.crop_share is None else model.crop_share
    model = replace(model, size=size, crop_share=crop_share, mean=model.mean or expected.mean,
                    std=model.std or expected.std)  # fmt: skip
    decoded = data.size or (round(size[0] / crop_share), round(size[1] / crop_share))
    data = replace(data, size=decoded, interpolation=data.interpolation or expected.interpolation)
    return replace(experiment, model=model, data=data)


def _of_vectors(experiment: Experiment, splits: Splits | None) -> Experiment:
    rows = None if splits is None else vectors_of(splits.train.read)
    if rows is None and experiment.data.root is None:
        raise ValueError("data.root: found none, expected a file of vectors, .parquet or .npy (--data.root PATH)")
    dim = vector_dim(experiment.data.root) if rows is None else rows.shape[1]  # type: ignore[arg-type]
    data, model = replace(experiment.data, size=(1, dim)), replace(experiment.model, size=(1, dim))
    return replace(experiment, data=data, model=model)
