"""PairLoss: the one door through which a loss comes into the world.

A loss is a subclass that declares its numbers and gives its `Form`. Everything that knows losses (the module, the
function of `circlet.functional`, the recipes' and the command line's names, telemetry, planes, figures, the explorer)
takes what it needs from there.
"""

import inspect
import re
from typing import Any, ClassVar, Literal, dataclass_transform

import torch
from torch import Tensor, nn

from circlet.aggregate import Reduction
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import (
    HyperParameter,
    Margin,
    Number,
    Scale,
    Temperature,
    check_names,
    declared,
    refuse_positional,
)
from circlet.losses.pair_loss import Encounter, pair_loss
from circlet.references import References
from circlet.similarity import is_transformed

Level = Literal["pair", "class", "joint"]


@dataclass_transform(kw_only_default=True, field_specifiers=(Margin, Number, Scale, Temperature))
class _Declared(nn.Module):
    """For type checkers: the annotated numbers of a subclass are the keywords of its constructor."""


class PairLoss(_Declared):
    """A loss on pairs of an anchor and a reference; the base of every loss here and of your own.

    >>> import circlet
    >>> from circlet import Form, PairLoss, rules
    >>> class MyLoss(PairLoss):
    ...     '''AM-Softmax with a hinge.'''
    ...     margin: float = 0.2
    ...     gamma: float = 32.0
    ...     def form(self):
    ...         return Form(rules.ConstantMargin(self.margin, self.gamma), circlet.aggregate.hinge)
    >>> MyLoss(gamma=16)
    MyLoss(margin=0.2, gamma=16.0, reduction='mean')

    Hyper-parameters are annotated class attributes with a number as default, given by name. A loss has no parameters of
    its own: class weights belong to `ClassWeights`. Called with (embeddings, labels, references, reference_labels,
    positive_mask=...), as in `circlet.functional.pair_loss`.

    reduction: "mean" over the valid anchors, "sum" or "none".
    name: on the command line and as a function, by default the class's name in small letters, without "Loss".
    aliases: other names of the class. level: what it is usually compared with. title: for people.
    num_centers: class weights of each class that it is made for.
    paper_settings: for a level the numbers that a paper states, and which paper, for which task.
    first_state: what a loss keeps from batch to batch (moving means), by name, with its value before the first batch:
        buffers, which `observe` moves on in training mode. Such a loss is a module alone, without a function.

    Raises TypeError for an unknown setting or one without a name, ValueError for a number out of range, and for a form
    whose rule or aggregate gives another shape or NaN.
    """

    reduction: Reduction = "mean"

    name: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = ""
    level: ClassVar[Level] = "pair"
    num_centers: ClassVar[int] = 1
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {}
    first_state: ClassVar[dict[str, float]] = {}
    declared: ClassVar[dict[str, HyperParameter]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        words = cls.__name__.removesuffix("Loss") or cls.__name__
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", words).lower()
        if "title" not in cls.__dict__:
            cls.title = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", words)
        cls.declared = declared(cls, PairLoss)
        for name, parameter in cls.declared.items():
            setattr(cls, name, parameter.default)
        if "__init__" not in cls.__dict__:
            keyword = inspect.Parameter.KEYWORD_ONLY
            settings = [
                inspect.Parameter(name, keyword, default=parameter.default, annotation=float)
                for name, parameter in cls.declared.items()
            ]
            reduction = inspect.Parameter("reduction", keyword, default="mean", annotation=Reduction)
            cls.__signature__ = inspect.Signature([*settings, reduction])  # type: ignore[attr-defined]

    def __init__(self, *values: object, reduction: Reduction = "mean", **settings: Any) -> None:
        super().__init__()
        loss = type(self).__name__
        if values:
            refuse_positional(loss, self.declared, values)
        self.reduction = reduction
        for name, value in self.first_state.items():
            self.register_buffer(name, torch.tensor(value))
        for name, value in self.checked(settings).items():
            setattr(self, name, value)
        self.check()

    @classmethod
    def checked(cls, settings: dict[str, Any]) -> dict[str, float]:
        """All hyper-parameters: those given, checked, and the defaults of the others."""
        check_names(cls.__name__, cls.declared, settings)
        return {
            name: parameter.checked(cls.__name__, name, settings[name]) if name in settings else parameter.default
            for name, parameter in cls.declared.items()
        }

    def check(self) -> None:
        """ValueError if the form is none, or its rule or aggregate gives another shape or NaN."""
        form = self.form()
        if not isinstance(form, Form):
            raise ValueError(f"{type(self).__name__}: form() gave {type(form).__name__}, expected a circlet.Form")
        form.check(type(self).__name__)

    def form(self) -> Form:
        """What the loss is made of, with its present hyper-parameters."""
        raise NotImplementedError(f"{type(self).__name__}: has no form(), expected one that gives a circlet.Form")

    def observe(self, encounter: Encounter) -> None:
        """Move the state on (`follow`) by a batch, in training mode, before its loss; over ranks by that of all."""

    def follow(self, name: str, value: Tensor, rate: float) -> None:
        """Move the state `name` towards `value` by the share `rate`; not if the value is not finite."""
        before: Tensor = getattr(self, name)
        after = before + rate * (value.detach().to(before.dtype) - before)
        setattr(self, name, torch.where(after.isfinite(), after, before))

    def _form_for(self, encounter: Encounter) -> Form:
        if self.training and self.first_state:
            if is_transformed():
                raise NotImplementedError(
                    f"{type(self).__name__}: found in training mode under a transform of torch.func or forward-mode "
                    "differentiation, which its moving means cannot follow, expected evaluation mode: eval()"
                )
            with torch.no_grad():
                self.observe(encounter)
        return self.form()

    @property
    def hyper_parameters(self) -> dict[str, float]:
        """The numbers of this loss by name."""
        return {name: getattr(self, name) for name in self.declared}

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        references: References | list[References] = None,
        reference_labels: Tensor | None = None,
        *,
        positive_mask: Tensor | None = None,
    ) -> Tensor:
        """The loss; arguments as in circlet.functional.pair_loss."""
        arguments = embeddings, labels, references, reference_labels, positive_mask
        return pair_loss(*arguments, self.reduction, self._form_for)

    def extra_repr(self) -> str:
        """Hyper-parameters, for print(module)."""
        settings: dict[str, Any] = {**self.hyper_parameters, "reduction": self.reduction}
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())
