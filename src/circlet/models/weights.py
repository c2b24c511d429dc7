"""Pretrained weights: from a file that others have written into a network of the same architecture.

Tensors are matched by name. Nothing is guessed: apart from the classifier, which no embedding needs, every tensor of
the network must be in the file, and every tensor of the file in the network. No code in a file is ever run.
"""

import pickle
import warnings
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from circlet.checksums import check_zip

CLASSIFIERS = ("fc.", "classifier.", "last_linear.", "head.")


class LoadedWeights(NamedTuple):
    """What `load_weights` did: names as they are in the file."""

    used: tuple[str, ...]
    ignored: tuple[str, ...]
    """A classifier that the network does not have, and whatever lies outside the file's backbone."""


def load_weights(module: nn.Module, path: str | PathLike[str], *, ignore: tuple[str, ...] = ()) -> LoadedWeights:
    """Load a file of weights into `module`: .safetensors, or what torch.save made of a state dict (.pth, .pt).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"module.weight": torch.ones(1, 2), "module.fc.bias": torch.ones(9)}, f"{folder}/linear.pth")
    ...     load_weights(nn.Linear(2, 1, bias=False), f"{folder}/linear.pth")
    LoadedWeights(used=('module.weight',), ignored=('module.fc.bias',))

    The tensors may lie in the file's "state_dict" or "model" (as in a circlet checkpoint), and their names may begin
    with "module." or "backbone.". Batch norms of shape (1, features), or without the count of batches, are taken too,
    as old files have them. ignore: how names begin that may be in the file though not in `module`, beside those of a
    classifier: of parts that were taken off it.

    Raises FileNotFoundError for no such file; ValueError for one that is broken, asks for code to be run, or does not
    fit, of which `module` may have taken a part.
    """
    own = module.state_dict()
    tensors, used, ignored = {}, [], []
    for full_name, name, tensor in _without_prefixes(read_weights(path), own):
        if name is None or (name not in own and name.startswith((*CLASSIFIERS, *ignore))):
            ignored.append(full_name)
            continue
        used.append(full_name)
        tensors[name] = tensor[0] if name in own and tensor.shape == (1, *own[name].shape) else tensor
    for name in own:
        if name.endswith(".num_batches_tracked"):
            tensors.setdefault(name, own[name])
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
        shapes: list[str] = []
    except RuntimeError as error:
        missing, unexpected = [n for n in own if n not in tensors], [n for n in tensors if n not in own]
        shapes = [line.strip() for line in str(error).splitlines()[1:]]
    differences = [
        f"{len(names)} {kind}, such as {names[0]}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if differences:
        raise ValueError(f"{path}: does not fit {type(module).__name__}: tensors {'; '.join(differences)}")
    return LoadedWeights(tuple(used), tuple(ignored))


def read_weights(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file of weights, by name, on the CPU; errors as those of `load_weights`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected weights, .pth, .pt or .safetensors")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in ("state_dict", "averaged", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: found {type(content).__name__}, expected tensors by name (a state dict)")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: found {type(value).__name__} under {name!r}, expected tensors by name")
    return content


def _read_pickle(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        try:
            check_zip(path)
        except ValueError as error:
            raise ValueError(f"{path}: found no readable weights ({error}); expected a file of torch.save, undamaged "
                             "and not TorchScript") from error  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old forms that it reads all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = (str(error) or "the file ends too early").splitlines()[0]
        raise ValueError(f"{path}: found no readable weights, or more than tensors ({reason})") from error


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: found no readable safetensors file ({error})") from error


def _without_prefixes(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> list[tuple[str, str | None, Tensor]]:
    """(name in the file, name in the network, tensor); no second name for what lies beside the file's backbone."""
    named: list[tuple[str, str | None, Tensor]] = [(name, name, tensor) for name, tensor in tensors.items()]
    for prefix in ("module.", "backbone."):
        if any(name.startswith(prefix) for name in own):
            continue
        if any(name is not None and name.startswith(prefix) for _, name, _ in named):
            named = [
                (full, name.removeprefix(prefix) if name and name.startswith(prefix) else None, tensor)
                for full, name, tensor in named
            ]
    return named
