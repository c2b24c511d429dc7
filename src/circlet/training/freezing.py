"""What of a model is trained, and when: the backbone's later blocks, after its first steps, its batch norms or not.

Frozen parameters require no gradient. As images require none either, the forward pass through the first blocks, if
they are frozen, builds no graph, and the backward pass ends where they end.
"""

from torch import nn

from circlet.models.depth import blocks_of
from circlet.training.optimizer import OptimizerConfig, backbone_of


class Freezing:
    """Freezes what the settings ask for and puts the model into training mode; before its optimiser is built.

    Parameters that require no gradient before are never trained. `at` is to be called before each step, and `end` at
    the end.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self.model, self.steps = model, config.freeze_backbone
        self.before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        frozen = _frozen_blocks(model, config.train_blocks)
        for parameter in frozen:
            parameter.requires_grad_(False)
        self.norms = _frozen_norms(backbone_of(model), {id(p) for p in frozen}, config)
        if config.freeze_batchnorm:
            for norm in self.norms:
                norm.requires_grad_(False)
        self.later = [parameter for parameter in backbone_of(model).parameters() if parameter.requires_grad]
        self.trained = True
        self.training()

    def training(self) -> None:
        """Put the model into training mode, in which frozen batch norms stay in evaluation mode."""
        self.model.train()
        for norm in self.norms:
            norm.eval()

    def at(self, step: int) -> bool:
        """Train the backbone at `step` (0-based), or freeze it; gives whether anything is trained that was not before.

        The gradients of what is frozen are dropped.
        """
        trained, before = step >= self.steps, self.trained
        if trained != before:
            self.trained = trained
            for parameter in self.later:
                parameter.requires_grad_(trained)
                parameter.grad = None
        return trained and not before

    def end(self) -> None:
        """Let every parameter require a gradient, or none, as it did before."""
        for parameter, required in self.before:
            parameter.requires_grad_(required)


def _frozen_blocks(model: nn.Module, train_blocks: int | None) -> list[nn.Parameter]:
    """The parameters of the backbone's blocks before its last `train_blocks`."""
    if train_blocks is None:
        return []
    if not hasattr(model, "backbone"):
        raise ValueError(f"train_blocks: found {train_blocks} with {type(model).__name__}, expected None, or a model "
                         "with an attribute `backbone`")  # fmt: skip
    blocks = blocks_of(backbone_of(model))
    if train_blocks > len(blocks):
        raise ValueError(f"train_blocks: found {train_blocks}, expected at most {len(blocks)}, all the blocks of "
                         f"{type(model.backbone).__name__}")  # fmt: skip
    return [parameter for block in blocks[: len(blocks) - train_blocks] for _, parameter in block]


def _frozen_norms(backbone: nn.Module, frozen: set[int], config: OptimizerConfig) -> list[nn.Module]:
    """The batch norms that keep their statistics; one without parameters goes with those defined before it."""
    found: list[nn.Module] = []
    is_frozen = bool(frozen)
    for module in backbone.modules():
        own = [id(parameter) in frozen for parameter in module.parameters(recurse=False)]
        if own:
            is_frozen = own[-1]
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (config.freeze_batchnorm or is_frozen):
            found.append(module)
    return found
