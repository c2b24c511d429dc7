"""What all ranks of a run must have alike before they train together: settings, and images to train on."""

import hashlib
from typing import Any

from circlet.data.images import ImageSet
from circlet.data.streams import StreamSet
from circlet.distributed import require_agreement
from circlet.experiments.experiment import Experiment
from circlet.experiments.leaves import PLACES, leaves


def require_same_training(experiment: Experiment, images: ImageSet) -> None:
    """ValueError where ranks have other settings, or other images to train on; see `require_agreement`.

    images: those to train on. They are compared by their names and those of their classes, in order. Over several
    ranks it is collective; with one, nothing is done.
    """
    require_agreement(lambda: {**_settings(experiment), **_data(images)})


def _settings(experiment: Experiment) -> dict[str, Any]:
    return {name: value for name, value in leaves(experiment.to_json()).items() if name not in PLACES}


def _data(images: ImageSet) -> dict[str, Any]:
    """Counts, to be read, and digests."""
    if isinstance(images, StreamSet):
        return images.told()
    return {
        "training classes": images.num_classes,
        "training images": len(images),
        "names of the training classes (digest)": _digest(
            "\0".join(images.class_names).encode("utf-8", "surrogatepass")
        ),
        "names of the training images (digest)": _digest("\0".join(images.names).encode("utf-8", "surrogatepass")),
        "labels of the training images (digest)": _digest(images.labels.astype("<i8").tobytes()),
    }


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
