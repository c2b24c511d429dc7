"""circlet: deep metric learning as pair similarity optimisation.

The public names are listed below and loaded on first use, so that `import circlet` and `circlet --help` stay fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import circlet.analyse as analyse
    import circlet.data as data
    import circlet.evaluate as evaluate
    import circlet.functional as functional
    import circlet.models as models
    import circlet.sampling as sampling
    from circlet.losses import (
        AMSoftmaxLoss,
        ArcFaceLoss,
        CircleLoss,
        CosFace,
        InfoNCELoss,
        LiftedStructureLoss,
        MultiSimilarityLoss,
        NormFaceLoss,
        NPairLoss,
        SoftmaxLoss,
        TripletLoss,
        UnifiedLoss,
    )
    from circlet.references import AllRanks, ClassWeights, MemoryBank, ShardedClassWeights
    from circlet.train.gradient_cache import gradient_cache
    from circlet.train.loop import fit

__version__ = "0.1.0"

_MODULES = ("analyse", "data", "evaluate", "functional", "models", "sampling")
_NAMES = {
    "AMSoftmaxLoss": "losses",
    "AllRanks": "references",
    "ArcFaceLoss": "losses",
    "CircleLoss": "losses",
    "ClassWeights": "references",
    "CosFace": "losses",
    "InfoNCELoss": "losses",
    "LiftedStructureLoss": "losses",
    "MemoryBank": "references",
    "MultiSimilarityLoss": "losses",
    "NPairLoss": "losses",
    "NormFaceLoss": "losses",
    "ShardedClassWeights": "references",
    "SoftmaxLoss": "losses",
    "TripletLoss": "losses",
    "UnifiedLoss": "losses",
    "fit": "train.loop",
    "gradient_cache": "train.gradient_cache",
}

__all__ = [
    "AMSoftmaxLoss",
    "AllRanks",
    "ArcFaceLoss",
    "CircleLoss",
    "ClassWeights",
    "CosFace",
    "InfoNCELoss",
    "LiftedStructureLoss",
    "MemoryBank",
    "MultiSimilarityLoss",
    "NPairLoss",
    "NormFaceLoss",
    "ShardedClassWeights",
    "SoftmaxLoss",
    "TripletLoss",
    "UnifiedLoss",
    "analyse",
    "data",
    "evaluate",
    "fit",
    "functional",
    "gradient_cache",
    "models",
    "sampling",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"circlet.{name}")
    if name in _NAMES:
        return getattr(import_module(f"circlet.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'circlet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
