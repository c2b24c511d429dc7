"""From a run folder, a file of `circlet export`, or the name of a pretrained network to a `Model`.

Names of networks are those of `circlet.models.backbone` whose weights come in a package, are published, or are timm's.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from circlet.experiments import DataConfig, Experiment, ModelConfig, load_run, resolved, thresholds_of
from circlet.experiments.build import build_model
from circlet.inference.model import Model, default_device
from circlet.models import NAMES, Embedder
from circlet.models.published import PUBLISHED
from circlet.training import RunFolder

if TYPE_CHECKING:
    from circlet.evaluate.thresholds import Thresholds

DEFAULT = "efficientnet_lite0"


def load_model(
    source: str | Path = DEFAULT, *, trust: Collection[str] = (), device: torch.device | str | None = None
) -> Model:
    """The model of a run folder, of a .safetensors file that `circlet export` wrote, or a frozen pretrained network.

    source: a path, or a name such as "efficientnet_lite0" (which needs no network) or "timm/vit_small_patch16_224".
    trust: the `package.module:name` that the settings of a run or file may import. device: None: a GPU if there is one.

    FileNotFoundError for a folder that is no run; ValueError for a run without a checkpoint, settings that name what is
    not trusted, a file that is none of ours, and a name that is not known; what `circlet.models.backbone` raises.
    """
    path = Path(source)
    if path.is_dir():
        return _of_run(path, trust, default_device(device))
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ValueError(f"{path}: found a file {path.suffix or 'without a suffix'}, expected a run folder, a "
                             ".safetensors file of circlet export, or the name of a network")  # fmt: skip
        from circlet.inference.safetensors_file import load_safetensors

        return load_safetensors(path, trust=trust, device=default_device(device))
    name = str(source)
    if name not in NAMES and not name.startswith("timm/"):
        raise FileNotFoundError(f"{name}: found no such folder or file, expected a run folder, a .safetensors file of "
                                f"circlet export, or the name of a network: {', '.join(PUBLISHED)}, "
                                "timm/<model>")  # fmt: skip
    if name not in PUBLISHED and name in NAMES:
        raise ValueError(f"model: found {name}, which has no published weights, expected a run, or one of "
                         f"{', '.join(PUBLISHED)}, timm/<model>")  # fmt: skip
    return frozen_model(name, device=device)


def frozen_model(name: str = DEFAULT, *, device: torch.device | str | None = None) -> Model:
    """A pretrained network as it is, with the preprocessing of its weights and no head."""
    experiment = frozen_experiment(name)
    network = build_model(experiment.model, experiment.data.channels)
    return Model(network, experiment.view, experiment.data.decoding, name=name, device=device, kept=True,
                 trained=False)  # fmt: skip


def frozen_experiment(name: str) -> Experiment:
    """What a pretrained network is built of, as the settings of a run have it: decoding, preprocessing, pooling."""
    data = DataConfig(source="folder", size=None, channels=3, fit="crop", interpolation=None, in_memory=False)
    model = ModelConfig(backbone=name, pretrained=True, size=None, crop_share=None, pooling="own", head="none",
                        embedding_dim=None, mean=None, std=None)  # fmt: skip
    return resolved(Experiment(recipe="frozen", data=data, model=model))


def model_of(
    network: Embedder, experiment: Experiment, *, name: str, source: Path | None = None,
    thresholds: "Thresholds | None" = None, device: torch.device | str | None = None,
) -> Model:  # fmt: skip
    """A trained network with the settings of its run (`resolved`), as a model."""
    return Model(network, experiment.view, experiment.data.decoding, name=name, source=source, thresholds=thresholds,
                 device=device, kept=bool(experiment.transfer.stages))  # fmt: skip


def _of_run(path: Path, trust: Collection[str], device: torch.device) -> Model:
    experiment, network = load_run(path, device, trust=trust)
    thresholds = thresholds_of(RunFolder(path))
    return model_of(network, experiment, name=str(path), source=path, thresholds=thresholds, device=device)
