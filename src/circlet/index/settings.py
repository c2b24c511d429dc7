"""What an index keeps beside its vectors: of which model they are, which folder it follows, and thresholds.

A store may come from anybody: what is read is checked, and a model that it names is loaded from a folder or from an
installed package only (`circlet.inference.load_model`), and used if its digest is the one that is named here.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from circlet.index.names import folder_of
from circlet.inference import Model, load_model
from circlet.typed import naming, typed
from circlet.vectors import Store

FORMAT = "circlet index 1"
_KNOWN = ("format", "model", "root", "roots", "thresholds", "chosen_on", "thresholds_due")


@dataclass(frozen=True)
class ModelMark:
    """Which model vectors are of. source: run folder or file, an absolute path; None: `name` is that of a network."""

    digest: str
    name: str
    source: str | None = None
    trained: bool = True

    @staticmethod
    def of(model: Model) -> "ModelMark":
        """The mark of a model."""
        source = None if model.source is None else str(model.source.resolve())
        return ModelMark(model.digest, model.name, source, model.trained)

    def __str__(self) -> str:
        return f"{self.name} (digest {self.digest[:8]})"


@dataclass(frozen=True)
class Settings:
    """What is kept. root: the folder that is followed, an absolute path. roots: of indexes that were merged into it.

    thresholds: as JSON, of `circlet.evaluate.thresholds`. chosen_on: which classes they were chosen on.
    thresholds_due: the images have changed since, or began to: who was killed in between must not keep the old ones.
    """

    model: ModelMark
    root: str | None = None
    roots: tuple[str, ...] = ()
    thresholds: dict[str, Any] | None = None
    chosen_on: str = ""
    thresholds_due: bool = False
    format: str = FORMAT

    @property
    def places(self) -> tuple[str, ...]:
        """All folders that images lie in."""
        return self.roots if self.root is None else (folder_of(self.root), *self.roots)


def with_thresholds(settings: Settings, model: Model) -> Settings:
    """The settings with the thresholds of a model's run, if it has any."""
    if model.thresholds is None:
        return settings
    return replace(settings, thresholds=model.thresholds.to_json(), chosen_on=f"validation classes of {model.name}")


def read_settings(store: Store) -> Settings:
    """The settings in a store; ValueError, which names it, for one that is no index of ours, or of another version."""
    found = store.meta()
    if not found:
        raise ValueError(f"{store.location}: found vectors and not the model that they are of, expected an index of "
                         "circlet index")  # fmt: skip
    if found.get("format") != FORMAT:
        raise ValueError(f"{store.location}: found format {str(found.get('format'))[:80]!r}, expected {FORMAT!r}: an "
                         "index of another version is made again (circlet index PHOTOS --out NEW)")  # fmt: skip
    with naming(store.location):
        settings: Settings = typed(Settings, {key: found[key] for key in _KNOWN if key in found}, "")
        return settings


def write_settings(store: Store, settings: Settings) -> None:
    """Keep them, durably; what others keep there stays."""
    own = asdict(settings)
    own["roots"] = list(settings.roots)
    store.set_meta({**store.meta(), **own})


def require_model(location: str, mark: ModelMark, model: Model) -> None:
    """ValueError, which names both, unless the vectors there are of this model."""
    require_same(location, mark, ModelMark.of(model))


def require_same(location: str, mark: ModelMark, other: ModelMark) -> None:
    """ValueError, which names both, unless two models give the same vectors."""
    if mark.digest != other.digest:
        raise ValueError(f"{location}: found vectors of {mark}, expected those of {other}: vectors of two models "
                         "cannot be compared; open it with its own model, or make another index (circlet index PHOTOS "
                         "--out NEW)")  # fmt: skip


def model_of(location: str, mark: ModelMark, trust: Collection[str], device: torch.device | str | None) -> Model:
    """The model of an index, from where it was; nothing is fetched that its file alone asks for."""
    if mark.source is None and ":" in mark.name and mark.name not in trust:
        raise ValueError(f"{location}: names the model {mark.name!r}, found in a file that may be somebody else's; "
                         f"nothing was fetched. If you trust it: --trust {mark.name}")  # fmt: skip
    try:
        model = load_model(mark.source or mark.name, trust=trust, device=device)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{location}: its vectors are of {mark}, which is not there any more ({error}); "
                                "expected it, from elsewhere perhaps (--model)") from error  # fmt: skip
    require_model(location, mark, model)
    return model
