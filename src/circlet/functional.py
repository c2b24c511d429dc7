"""The losses as functions: each is made of the definition of its module, with the same hyper-parameters by name.

    circlet.functional.circle_loss(embeddings, labels, references=None, reference_labels=None, *,
                                   margin=0.25, gamma=256.0, positive_mask=None, reduction="mean")

All take the arguments of `pair_loss`, which explains them once; `pair_loss` with a `Form` of your own is a new loss. A
loss that keeps something from call to call (a running mean) has a module alone.
"""

import inspect
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from circlet.aggregate import Reduction
from circlet.losses import Form as Form
from circlet.losses import PairLoss, all_losses
from circlet.losses.pair_loss import pair_loss
from circlet.references import References


def function_of(loss: type[PairLoss]) -> Callable[..., Tensor]:
    """The function of a loss without state; ValueError for one with state, or with an __init__ of its own."""
    if _has_state(loss):
        raise ValueError(f"{loss.__name__}: keeps something from call to call, expected it to be used as a module")

    def function(
        embeddings: Tensor,
        labels: Tensor | None = None,
        references: References | list[References] = None,
        reference_labels: Tensor | None = None,
        *,
        positive_mask: Tensor | None = None,
        reduction: Reduction = "mean",
        **settings: float,
    ) -> Tensor:
        form = loss.form(SimpleNamespace(**loss.checked(settings)))  # type: ignore[arg-type]
        return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)

    *given, _ = inspect.signature(function).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(name, keyword, default=p.default, annotation=float) for name, p in loss.declared.items()]
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*given[:4], *own, *given[4:]], return_annotation=Tensor
    )
    function.__name__ = function.__qualname__ = f"{loss.name}_loss"
    function.__doc__ = loss.__doc__
    return function


@cache
def _function(name: str) -> Callable[..., Tensor]:
    return function_of(_functions()[name])


def _functions() -> dict[str, type[PairLoss]]:
    return {f"{name}_loss": loss for name, loss in all_losses().items() if not _has_state(loss)}


def _has_state(loss: type[PairLoss]) -> bool:
    return bool(loss.first_state) or loss.__init__ is not PairLoss.__init__


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return ["Form", "function_of", "pair_loss", *_functions()]
    if name in _functions():
        return _function(name)
    for loss in all_losses().values():
        if name == f"{loss.name}_loss":
            function_of(loss)  # which says why there is none
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    names: list[str] = __getattr__("__all__")
    return names
