"""Published weights of ImageNet: fetched once, checked, and kept where torch keeps those of its hub.

Weights for faces are not here: insightface's are given as a file.
"""

from pathlib import Path
from typing import NamedTuple

import torch

from circlet.download import download


class Published(NamedTuple):
    """Where a file of weights lies, and its SHA-256."""

    url: str
    sha256: str


_RESNET50 = Published(  # torchvision, IMAGENET1K_V1
    "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
)
PUBLISHED = {
    "resnet50": _RESNET50,
    "mgn": _RESNET50,
    "bn_inception": Published(  # pretrainedmodels
        "https://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
        "52deb473314542a5c2f87e9e6f26f4ca42fe863d15f986414dbae8c2dfdd2353",
    ),
}


def published_weights(name: str) -> Path:
    """The file of the weights for the backbone `name`, one of `PUBLISHED`, below `torch.hub.get_dir()`/checkpoints.

    Fetched with a progress bar on a terminal if it is not there yet, or not whole. Any failure (network, disk,
    checksum) is an OSError that names the address, and leaves nothing behind.
    """
    url, sha256 = PUBLISHED[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    try:
        download(url, path, sha256)
    except OSError as error:
        raise OSError(
            f"{url}: found no weights there ({error}), expected a file whose SHA-256 is {sha256}; to use a copy that "
            f"you have, put it at {path} or name it as weights (--model.weights on the command line)"
        ) from error
    return path
