"""What is known of licences: of the weights that a model began with, and of the images that it was trained on.

A model trained from others' weights on others' images may be bound by the licences of both. What nobody has stated here
is said to be unknown, never guessed.
"""

import re
from typing import NamedTuple

from circlet.data.catalogue import DATA_SETS
from circlet.experiments import Experiment, ModelConfig
from circlet.inference import Model
from circlet.inference.loading import frozen_experiment

UNKNOWN = "unknown"


class Licence(NamedTuple):
    """A licence as the Hugging Face Hub spells it, or "other" or "unknown"; what it is of; where that stands."""

    name: str
    of: str
    source: str = ""


_TORCHVISION = Licence("bsd-3-clause", "weights of torchvision, trained on ImageNet",
                       "https://github.com/pytorch/vision/blob/main/LICENSE")  # fmt: skip
_LITE = Licence("apache-2.0", "weights of Google's EfficientNet-Lite, trained on ImageNet",
                "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite")  # fmt: skip
WEIGHTS = {
    "efficientnet_lite0": _LITE,
    "efficientnet_lite1": _LITE,
    "efficientnet_lite2": _LITE,
    "resnet50": _TORCHVISION,
    "mgn": _TORCHVISION,
    "bn_inception": Licence("bsd-3-clause", "weights of pretrainedmodels, trained on ImageNet",
                            "https://github.com/Cadene/pretrained-models.pytorch/blob/master/LICENSE.txt"),
}  # fmt: skip


def licence_of_weights(model: Model, experiment: Experiment | None) -> Licence | None:
    """The licence of the weights of a network as it was published, or that a run began with; None where none are known.

    experiment: of its run, None for a network by its name, and for a file, which says nothing of it.
    """
    if experiment is not None:
        return weights_licence(experiment.model)
    return weights_licence(frozen_experiment(model.name).model) if model.source is None else None


def weights_licence(config: ModelConfig) -> Licence | None:
    """The licence of the weights that training began with; None where it began from random ones."""
    if config.weights is not None:
        return Licence(UNKNOWN, f"weights of the file {config.weights.name}")
    if not config.pretrained:
        return None
    if config.backbone in WEIGHTS:
        return WEIGHTS[config.backbone]
    name = config.backbone.removeprefix("timm/")
    return Licence(_of_timm(config.backbone) or UNKNOWN, f"weights of timm's {name}")


def data_licence(experiment: Experiment) -> Licence:
    """The licence of the images that a run was trained on; unknown for images of one's own."""
    source = experiment.data.source
    if source in DATA_SETS and (known := DATA_SETS[source]).licence:
        return Licence("other", f"{known.title}: {known.licence}", known.source)
    if source == "glyphs":
        return Licence("other", "characters drawn from the typefaces that come with matplotlib")
    return Licence(UNKNOWN, "the images of the training")


def checked_licence(name: str) -> str:
    """A licence as the hub spells it ("apache-2.0", "cc-by-nc-4.0", "other"); ValueError for what cannot be one."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.\-]{0,39}", name):
        raise ValueError(f"licence: found {name!r}, expected one as the Hugging Face Hub spells it, such as mit, "
                         "apache-2.0, cc-by-nc-4.0 or other")  # fmt: skip
    return name


def _of_timm(name: str) -> str | None:
    """As timm's own list has it, if timm is here; nothing is fetched."""
    from circlet.models.timm_sources import find_source

    try:
        found = find_source(name, fetch=False).config.get("license")
    except (ImportError, OSError, ValueError):
        return None
    return found if isinstance(found, str) and found else None
