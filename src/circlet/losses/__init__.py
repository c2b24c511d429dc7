"""The losses: each defined once, in a file of its own or of its family, found here by looking into this folder.

A new file with a subclass of `PairLoss` is a new loss: a module (`circlet.MyLoss`), a function
(`circlet.functional.my_loss`), a name for recipes and the command line (`my`), and a row of every table.

    loss = circlet.CircleLoss(margin=0.4, gamma=80.0)
    loss(embeddings, labels)                                # pair-wise labels: the other samples of the batch
    loss(embeddings, labels, references, reference_labels)  # any references
    loss(embeddings, labels, classes)                       # class-level labels: a ClassWeights or a weight tensor
    loss(embeddings, labels, [classes, None])               # joint: classes and batch in one loss

Which well-known losses are not of this kind is said in `form`.

| file             | what it is                                                                        |
|------------------|-----------------------------------------------------------------------------------|
| form             | what a loss is made of                                                            |
| base             | `PairLoss`: the door through which a loss comes into the world                    |
| hyper_parameters | the numbers of a loss, with default, range and meaning                            |
| pair_loss        | the loss of a batch by any form                                                   |
| statistics       | every word of a form, defined on similarities                                     |
| table            | the table of the losses, from their definitions                                   |
| catalogue        | all losses by name, those of this package, of others, and `module:Class`          |
| all others       | losses                                                                            |
"""

from typing import Any

from circlet.losses.base import Level, PairLoss  # noqa: F401
from circlet.losses.catalogue import all_losses, find_loss  # noqa: F401
from circlet.losses.form import Form, RowRule, Rows  # noqa: F401
from circlet.losses.hyper_parameters import HyperParameter, Margin, Number, Scale, Temperature  # noqa: F401

_BASIC = (
    "Form",
    "HyperParameter",
    "Level",
    "Margin",
    "Number",
    "PairLoss",
    "RowRule",
    "Rows",
    "Scale",
    "Temperature",
    "all_losses",
    "find_loss",
)


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [*_BASIC, *(alias for loss in all_losses().values() for alias in (loss.__name__, *loss.aliases))]
    for loss in all_losses().values():
        if name == loss.__name__ or name in loss.aliases:
            return loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    names: list[str] = __getattr__("__all__")
    return names
