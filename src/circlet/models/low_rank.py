r"""Low-rank adapters: W + (alpha / rank) B A is trained in place of W (LoRA: Hu et al., 2021, section 4.1).

W (out, in) keeps its pretrained value; A (rank, in) starts at random and B (out, rank) at zero, so that at the start
the network computes what it did. Adapters are parametrizations of torch (torch.nn.utils.parametrize): a layer's
`weight` is the sum, so that every forward pass uses it, whatever it does with the weight. In a state dict the weight is
then `parametrizations.weight.original`, with `parametrizations.weight.0.down` (A) and `.up` (B) beside it.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn.utils import parametrize

Targets = Callable[[str, nn.Module], bool]
"""Whether a layer is adapted: (name in the network, layer)."""


class LowRank(nn.Module):
    """The parametrization of one weight (out, in) or (out, in, 1, 1): adds (alpha / rank) B A to it."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        out_features, in_features = weight.shape[:2]
        rank = min(rank, out_features, in_features)
        self.down = nn.Parameter(weight.new_empty(rank, in_features))
        self.up = nn.Parameter(weight.new_zeros(out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as Microsoft's loralib

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with what the adapter has learnt, in its shape."""
        change = (self.scale * (self.up @ self.down)).view(weight.shape)
        return weight.clone().add_(change)  # in the weight's own strides, which tell convolutions of channels-last


def add_low_rank(module: nn.Module, rank: int, alpha: float | None = None, *, targets: Targets | None = None) -> int:
    """Give the linear layers and 1x1 convolutions of `module` adapters; all that is trained from then on are these.

    >>> network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> add_low_rank(network, rank=1, targets=lambda name, layer: name == "0")
    1
    >>> [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    ['0.parametrizations.weight.0.down', '0.parametrizations.weight.0.up']

    Gives the number of adapters. Every other parameter of the module is frozen (requires_grad False), and stays so
    when the adapters are merged. Batch norms in training mode still move their statistics; see
    `OptimizerConfig.freeze_batchnorm`. Convolutions with groups or larger filters are not adapted, nor are layers that
    share their weight with others or have it parametrized in another way.

    rank: at least 1; in a layer with fewer inputs or outputs than that, as many as it has.
    alpha: the adapters are scaled by alpha / rank; None: rank, a scale of 1. It acts as a learning rate.
    targets: which of those layers, by name and module, such as `lambda name, layer: "attn" in name`; None: all.

    Raises ValueError where nothing is adapted, or adapters are there already. Differs from Hu et al., who adapt the
    attention of transformers alone.
    """
    if rank < 1:
        raise ValueError(f"rank: found {rank}, expected at least 1")
    if alpha is not None and not 0 < alpha < math.inf:
        raise ValueError(f"alpha: found {alpha}, expected a finite number above 0")
    if any(True for _ in _adapted(module)):
        raise ValueError("module: found low-rank adapters in it, expected none (merge_low_rank folds them in)")
    uses = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    chosen = [
        layer
        for name, layer in module.named_modules()
        if _can_be(layer) and uses[id(layer.weight)] == 1 and (targets is None or targets(name, layer))
    ]
    if not chosen:
        raise ValueError(f"targets: found no layer of {type(module).__name__} to adapt, expected at least one "
                         "nn.Linear or 1x1 nn.Conv2d without groups")  # fmt: skip
    module.requires_grad_(False)
    for layer in chosen:
        weight = layer.get_parameter("weight")
        parametrize.register_parametrization(layer, "weight", LowRank(weight, rank, rank if alpha is None else alpha))
    return len(chosen)


def merge_low_rank(module: nn.Module) -> int:
    """Fold the adapters of `module` into its weights, in place, and give their number; 0 where there are none.

    >>> network = nn.Sequential(nn.Linear(6, 4))
    >>> add_low_rank(network, rank=2), merge_low_rank(network), list(network.state_dict())
    (1, 1, ['0.weight', '0.bias'])

    The module then has the names and the speed that it had before `add_low_rank`, and computes what it did with them,
    up to rounding. Its parameters stay frozen.
    """
    adapted = list(_adapted(module))
    for layer in adapted:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        bias = getattr(layer, "bias", None)  # to its place behind the weight: some match tensors by their order
        del layer.bias
        layer.register_parameter("bias", bias)
    return len(adapted)


def _can_be(layer: nn.Module) -> bool:
    if parametrize.is_parametrized(layer, "weight"):
        return False
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear)


def _adapted(module: nn.Module) -> Iterator[nn.Module]:
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parts = layer.parametrizations["weight"]  # type: ignore[index]
            if any(isinstance(part, LowRank) for part in parts):
                yield layer
