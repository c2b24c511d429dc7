"""Published weights of ImageNet: fetched once, checked, and kept where torch keeps those of its hub.

The file names are torch's: they end in the first digits of the SHA-256, which find a damaged or changed file, though
not one forged with effort; reading it (`load_weights`) runs no code in any case. Weights for faces are not here:
insightface's are given as a file.
"""

import hashlib
import sys
from http.client import HTTPException
from pathlib import Path

import torch

_RESNET50 = "https://download.pytorch.org/models/resnet50-0676ba61.pth"  # torchvision, IMAGENET1K_V1
URLS = {
    "resnet50": _RESNET50,
    "mgn": _RESNET50,
    "bn_inception": "http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",  # pretrainedmodels
}


def published_weights(name: str) -> Path:
    """The file of the weights for the backbone `name`, one of `URLS`, below `torch.hub.get_dir()`/checkpoints.

    Fetched with a progress bar on a terminal if it is not there yet, or not whole. Any failure (network, disk,
    checksum) is an OSError that names the address, and leaves nothing behind.
    """
    url = URLS[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    digits = path.stem.rpartition("-")[2]
    try:
        if not (path.is_file() and _sha256(path).startswith(digits)):
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:
        raise OSError(
            f"{url}: found no weights there ({error}), expected a file whose SHA-256 begins with {digits}; to use a "
            f"copy that you have, put it at {path} or name it as weights (--model.weights on the command line)"
        ) from error
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
