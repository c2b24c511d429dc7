"""circlet: deep metric learning as pair similarity optimisation.

The public names are listed below and loaded on first use, so that `import circlet` and `circlet --help` stay fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from circlet.references import ClassWeights

__version__ = "0.1.0"

_MODULES = ("data", "evaluate", "functional", "models", "sampling")
_NAMES = {
    "AMSoftmaxLoss": "losses",
    "ArcFaceLoss": "losses",
    "CircleLoss": "losses",
    "ClassWeights": "references",
    "CosFace": "losses",
    "InfoNCELoss": "losses",
    "LiftedStructureLoss": "losses",
    "MultiSimilarityLoss": "losses",
    "NPairLoss": "losses",
    "NormFaceLoss": "losses",
    "SoftmaxLoss": "losses",
    "TripletLoss": "losses",
    "UnifiedLoss": "losses",
}

__all__ = [
    "AMSoftmaxLoss",
    "ArcFaceLoss",
    "CircleLoss",
    "ClassWeights",
    "CosFace",
    "InfoNCELoss",
    "LiftedStructureLoss",
    "MultiSimilarityLoss",
    "NPairLoss",
    "NormFaceLoss",
    "SoftmaxLoss",
    "TripletLoss",
    "UnifiedLoss",
    "data",
    "evaluate",
    "functional",
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
