"""Which network of timm a name stands for, and where its weights lie; nothing is built here.

A name is timm's own (`vit_small_patch16_224`, with a tag after a dot `.dino`), a repository of the Hugging Face Hub
(`hf-hub:owner/name`) or a folder (`local-dir:path`), both with timm's config.json. The hub is asked only if `fetch`.
No code comes out of any of them: config.json names an architecture that timm has, and plain values.
"""

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch

OLDEST = (1, 0, 31)  # the first that was tried; older ones unpickle some weights
HUB, FOLDER = "hf-hub", "local-dir"
INSTEAD = "expected a connection, or weights that you have: --model.weights FILE, timm/local-dir:FOLDER, or " \
    "efficientnet_lite0, which needs no hub"  # fmt: skip
WEIGHTS = (
    "model.safetensors", "pytorch_model.safetensors", "open_clip_model.safetensors",
    "pytorch_model.bin", "pytorch_model.pth", "model.pth", "open_clip_pytorch_model.bin",
)  # fmt: skip


class Source(NamedTuple):
    """A network of timm: what `create_model` needs."""

    name: str
    """As it was given, with timm/ before it: for messages."""
    model: str
    """Its name in timm: the architecture, with the tag of its weights if there was one."""
    config: dict[str, Any]
    """timm's pretrained configuration: input_size, mean, std, interpolation, crop_pct, classifier, ..."""
    arguments: dict[str, Any]
    """Of the constructor, as config.json has them."""
    place: str | None = None
    """The repository or folder that it was found in; None: timm's own list."""
    on_hub: bool = False


def import_timm() -> Any:
    """The package; ImportError in one line if it, or the torchvision that it needs, is missing or does not load."""
    try:
        import timm
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "timm":
            raise ImportError("timm is not installed; expected the extra: pip install 'circlet[timm]'") from error
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and missing.partition(".")[0] not in ("timm", "torchvision"):
            raise ImportError(f"timm needs {missing}, which is not installed; expected the extra: "
                              "pip install 'circlet[timm]'") from error  # fmt: skip
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImportError(
            f"timm cannot be loaded: torchvision {_version('torchvision')} does not fit torch {torch.__version__} "
            f"({reason}); expected both from one index in versions made for each other, see "
            "https://pytorch.org/get-started; efficientnet_lite0 needs neither timm nor torchvision"
        ) from error
    if tuple(map(int, re.findall(r"\d+", timm.__version__)[:3])) < OLDEST:
        raise ImportError(f"timm: found {timm.__version__}, expected {'.'.join(map(str, OLDEST))} or later: "
                          "pip install --upgrade timm")  # fmt: skip
    return timm


def find_source(name: str, *, fetch: bool) -> Source:
    """The network that `name` (timm/...) stands for.

    fetch: a repository's config.json may be fetched from the hub; else it must lie in the hub's cache already.

    Raises ImportError for no usable timm, ValueError for a name or file that is none, OSError for a hub out of reach.
    """
    timm = import_timm()
    model = name.removeprefix("timm/")
    kind, colon, place = model.partition(":")
    kind = kind.replace("hf_hub", HUB)
    if not colon and "/" not in model and "\\" not in model:
        return Source(name, model, _registered(timm, name, model), {})
    if kind not in (HUB, FOLDER) or not place:
        raise ValueError(f"backbone: found {name!r}, expected timm/<model>, timm/{HUB}:owner/name or "
                         f"timm/{FOLDER}:path")  # fmt: skip
    if kind == HUB:
        folder = hub_file(name, place, ("config.json",), fetch=fetch).parent
    else:
        folder = Path(place)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder / 'config.json'}: no such file; expected a folder that timm has saved")
    architecture, config, arguments = _read_config(timm, folder)
    return Source(name, architecture, config, arguments, place, on_hub=kind == HUB)


def weights_file(source: Source) -> Path:
    """The file of weights of a repository (fetched if need be) or a folder; OSError if there is none."""
    assert source.place is not None
    if source.on_hub:
        return hub_file(source.name, source.place, WEIGHTS, fetch=True)
    for file in WEIGHTS:
        if (path := Path(source.place) / file).is_file():
            return path
    raise FileNotFoundError(f"{source.place}: found no weights, expected one of {', '.join(WEIGHTS)}")


def hub_file(name: str, repository: str, files: tuple[str, ...], *, fetch: bool) -> Path:
    """The first of `files` that the repository (owner/name, with @revision) has, in the hub's cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    repository, _, revision = repository.partition("@")
    with hub_errors(name):
        for file in files:
            try:
                path = hf_hub_download(repository, file, revision=revision or None, local_files_only=not fetch)
            except HFValidationError as error:
                raise ValueError(f"backbone: found {name!r}, expected timm/{HUB}:owner/name ({error})") from error
            except EntryNotFoundError as error:
                if isinstance(error, OSError) and fetch:  # out of reach, and not in the cache
                    raise
                continue
            return Path(path)
    where = "in the repository" if fetch else "in the cache, and nothing is fetched without pretrained"
    raise FileNotFoundError(f"{name}: found none of {', '.join(files)} {where}; {INSTEAD}")


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Whatever goes wrong between here and the hub is an OSError of one line that names the network."""
    try:
        yield
    except Exception as error:
        by_a_client = type(error).__module__.partition(".")[0] in ("huggingface_hub", "httpx", "httpx2", "requests")
        if not (isinstance(error, OSError) or by_a_client):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"{name}: could not be fetched ({reason[:200]}); {INSTEAD}") from error


def _registered(timm: Any, name: str, model: str) -> dict[str, Any]:
    """The configuration of a model on timm's list; ValueError with the nearest names for one that is not."""
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        names = timm.list_models()
        near = difflib.get_close_matches(architecture, names, n=5) or [n for n in names if architecture[:6] in n][:5]
        raise ValueError(f"backbone: timm has no model {architecture!r}; near it: "
                         f"{', '.join(near) or 'none, see timm.list_models()'}")  # fmt: skip
    try:
        config = timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(architecture))
        raise ValueError(
            f"backbone: timm has no weights {tag!r} for {architecture}; it has {tags or 'none'}"
        ) from error
    return dict(config.to_dict()) if config is not None else {}


def _read_config(timm: Any, folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Architecture, pretrained configuration and constructor's arguments out of a config.json."""
    from timm.models._hub import load_model_config_from_path

    path = folder / "config.json"
    try:
        config, architecture, arguments = load_model_config_from_path(folder)
        config = timm.models.PretrainedCfg(**config).to_dict(remove_source=True)
        known = timm.is_model(architecture)
        arguments = {name: value for name, value in arguments.items() if value is not None}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path}: found {type(error).__name__} ({error}), expected what timm writes: architecture, "
                         "pretrained_cfg") from error  # fmt: skip
    if not known:
        raise ValueError(f"{path}: found architecture {architecture!r}, which timm {timm.__version__} does not have")
    if outside := arguments.keys() & signature(timm.create_model).parameters.keys():  # such as a checkpoint's path
        raise ValueError(f"{path}: found {min(outside)} in model_args, expected arguments of the network alone")
    return architecture, {**config, "architecture": architecture}, arguments


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
