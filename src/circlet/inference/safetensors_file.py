"""One file that is a model: weights in safetensors, and in its metadata, as JSON, all that is needed to build it again.

Reading runs no code and imports nothing that the file names, unless the name is given again. The file's structure is
checked by safetensors, its settings against their types, and the shapes of its tensors against a twin of the network
without memory, before anything is set aside for it; the digest at the end tells whether it gives the same vectors as
the model that was saved. What a run folder knows beside its model (log, splits, report) is not in it.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circlet.data.decode import Fit, Form
from circlet.data.decode import Interpolation as Resampling
from circlet.data.pixels import Decoding
from circlet.data.regular import open_regular
from circlet.experiments import ModelConfig, open_run
from circlet.experiments.build import build_model, without_weights
from circlet.experiments.folders import CACHED
from circlet.experiments.from_json import from_json
from circlet.files import write_atomically
from circlet.inference.loading import frozen_experiment
from circlet.inference.model import Model
from circlet.models import View
from circlet.training import load_module
from circlet.training.checkpoint import check_fits
from circlet.typed import naming

if TYPE_CHECKING:
    from circlet.evaluate.thresholds import Thresholds

KEY, VERSION = "circlet", 1
MAX_SETTINGS_BYTES = 1 << 20
MAX_PIXELS = 1 << 22  # of an image as it is decoded or seen: a file must not ask for memory that it does not bring


@dataclass(frozen=True)
class Preparation:
    """How an image file becomes pixels: (height, width), channels, and how it is resized (`circlet.data.decode`)."""

    size: tuple[int, int]
    channels: int = 3
    fit: Fit = "stretch"
    interpolation: Resampling = "bicubic"


@dataclass(frozen=True)
class FileSettings:
    """What stands in a file's metadata: the model but for its weights.

    model: backbone, pooling, head, normalisation. kept: whether features of files are kept (`Model`). thresholds: as
    `circlet.evaluate.thresholds` writes them. counts: classes and images of its run, by the names of result.json.
    """

    version: int
    name: str
    digest: str
    model: ModelConfig
    prepare: Preparation
    view: View
    kept: bool = False
    thresholds: dict[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def check(self) -> None:
        """ValueError for a version or numbers that this version of circlet does not take from a file."""
        if self.version != VERSION:
            raise ValueError(f"version: found {self.version}, expected {VERSION}; a later circlet may read it")
        prepare, seen = self.prepare, self.view
        if prepare.fit != "vector":  # of which no image becomes one
            Form(prepare.size, prepare.channels, prepare.fit, prepare.interpolation).check()
        for name, size in (("prepare.size", prepare.size), ("view.size", seen.size)):
            if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
                raise ValueError(f"{name}: found {size}, expected (height, width) of 1 to {MAX_PIXELS} pixels")
        if not 0 < seen.crop_share <= 1:
            raise ValueError(f"view.crop_share: found {seen.crop_share}, expected above 0 and at most 1")
        if self.model.size != seen.size:
            raise ValueError(f"model.size: found {self.model.size}, expected that of the view, {seen.size}")
        if None in (self.model.mean, self.model.std):
            raise ValueError("model.mean, model.std: found null, expected numbers")


def save_safetensors(
    model: Model, path: str | Path, *, counts: Mapping[str, int] | None = None, trust: Collection[str] = ()
) -> FileSettings:
    """Write a model, atomically, as a file that `circlet.load` opens; what stands in its metadata.

    counts: classes and images of its run, to be kept with it. trust: as in `load_model`, where the model comes from.

    Paths of this machine are not in the file. ValueError for a model that could not be built again from it; nothing is
    written then.
    """
    settings = settings_of_model(model, counts=counts or {}, trust=trust)
    own = model.network.state_dict()
    with naming(f"{model.name}: cannot be saved to one file"):
        check_fits(_twin_tensors(settings, own, trust), own, Path(model.name), type(model.network).__name__)
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in own.items()}
    content = save(tensors, metadata={"format": "pt", KEY: json.dumps(_plain(settings), allow_nan=False)})
    write_atomically(Path(path), lambda file: file.write(content))
    return settings


def load_safetensors(
    path: str | Path, *, trust: Collection[str] = (), device: torch.device | str | None = None
) -> Model:
    """The model in a file of `save_safetensors`, with the digest that it had.

    trust: the `package.module:name` of a foreign backbone that may be imported. device: None: a GPU if there is one.

    FileNotFoundError if it is not there; ValueError, which names it, for what is no such file, is damaged or changed,
    of a later version, names what is not trusted, or claims more than it holds.
    """
    path = Path(path)
    settings, tensors = _read(path)
    name = settings.model.backbone
    if ":" in name and name not in trust and not name.startswith(CACHED):
        raise ValueError(f"{path}: model.backbone is {name!r}, found in a file that may be somebody else's; nothing "
                         f"was imported. If you trust it: --trust {name}")  # fmt: skip
    with naming(path):
        twin = _twin_tensors(settings, tensors, trust)
    check_fits(twin, tensors, path, name)
    network = build_model(without_weights(settings.model), settings.prepare.channels)
    load_module(network, tensors, path)
    prepare = settings.prepare
    decoding = Decoding(prepare.size, prepare.channels, prepare.fit, interpolation=prepare.interpolation)
    kept = settings.kept and settings.model.head in ("linear", "none")
    model = Model(network, settings.view, decoding, name=str(path), source=path,
                  thresholds=_thresholds(settings, path), device=device, kept=kept)  # fmt: skip
    if model.digest != settings.digest:
        raise ValueError(f"{path}: found a model with the digest {model.digest}, expected {settings.digest}, as it was "
                         "saved: the file is damaged or was changed; get it again")  # fmt: skip
    return model


def read_settings(path: str | Path) -> FileSettings:
    """What stands in a file's metadata, without its weights; errors as of `load_safetensors`."""
    return _read(Path(path), weights=False)[0]


def settings_of_model(
    model: Model, *, counts: Mapping[str, int] | None = None, trust: Collection[str] = ()
) -> FileSettings:
    """What a file of the model would have in its metadata: of a run, of a file that was loaded, or of a network."""
    kept_counts: Mapping[str, int] = {}
    if model.source is None:
        config, name = frozen_experiment(model.name).model, model.name
    elif model.source.is_dir():
        experiment = open_run(model.source, trust, needed=("model.backbone",))[1]
        config, name = experiment.model, model.source.resolve().name
    else:
        before = read_settings(model.source)
        config, name, kept_counts = before.model, before.name, before.counts
    config = replace(without_weights(config), backbone=_portable(config.backbone))
    decoding, thresholds = model.decoding, model.thresholds
    prepare = Preparation(decoding.size, decoding.channels, decoding.fit, decoding.interpolation)
    return FileSettings(VERSION, name, model.digest, config, prepare, model.view, model.kept,
                        None if thresholds is None else thresholds.to_json(), dict(counts or kept_counts))  # fmt: skip


def _portable(backbone: str) -> str:
    """A network of timm out of a repository or folder by its name in timm, where that says all."""
    if not backbone.startswith((CACHED, "timm/local-dir:")):
        return backbone
    from circlet.models.timm_sources import find_source

    source = find_source(backbone, fetch=False)
    return backbone if source.arguments else f"timm/{source.model}"


def _plain(settings: FileSettings) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return content


def _read(path: Path, *, weights: bool = True) -> tuple[FileSettings, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    with naming(path), open_regular(path):
        pass  # a pipe or a folder is named; safetensors maps what it opens
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            settings = _settings(path, metadata.get(KEY))
            return settings, {name: file.get_tensor(name) for name in file.keys()} if weights else {}  # noqa: SIM118
    except SafetensorError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: found no readable safetensors file ({reason}), expected one of circlet "
                         "export") from error  # fmt: skip


def _settings(path: Path, text: str | None) -> FileSettings:
    if text is None:
        raise ValueError(f"{path}: found a safetensors file without circlet's settings, expected one of circlet export "
                         "(weights alone: --model.weights FILE of circlet train)")  # fmt: skip
    with naming(path):
        if len(text) > MAX_SETTINGS_BYTES:
            raise ValueError(f"{KEY}: found {len(text)} characters of settings, expected at most {MAX_SETTINGS_BYTES}")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{KEY}: found no valid JSON ({error})") from None
        if isinstance(content, dict) and isinstance(content.get("version"), int) and content["version"] > VERSION:
            raise ValueError(f"version: found {content['version']}, expected {VERSION}: update circlet to read it")
        settings = from_json(FileSettings, content, KEY)
        assert isinstance(settings, FileSettings)
        settings.check()
    return settings


def _twin_tensors(settings: FileSettings, tensors: Mapping[str, Tensor], trust: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a network of these settings, without memory; of somebody's own code, which may need some, these.

    ValueError for settings of which no network can be built.
    """
    if settings.model.backbone in trust:
        return dict(tensors)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return build_model(settings.model, settings.prepare.channels).state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:  # sizes beyond all measure, as a rule
        raise ValueError(f"model: found settings of no network ({' '.join(str(error).split())[:200]})") from error


def _thresholds(settings: FileSettings, path: Path) -> "Thresholds | None":
    if settings.thresholds is None:
        return None
    from circlet.evaluate.thresholds import Thresholds

    with naming(path):
        return Thresholds.from_json(settings.thresholds)
