"""The modules that are the blocks of a network: what is sharded over ranks, or computed again, one at a time.

Where a network has its blocks is told by `circlet.models.depth`; here each is given as a module that can be called.
"""

from torch import nn

from circlet.models.depth import blocks_of


def module_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a model's attribute `backbone`, or of the model if it has none, by name, from the input on.

    >>> from circlet.models import SmallResNet
    >>> [(name, type(block).__name__) for name, block in module_blocks(SmallResNet()).items()][1:]
    [('layers.1', 'Sequential'), ('layers.3', 'Residual'), ('layers.4', 'Sequential'), ('layers.5', 'Residual')]

    Of each block of `circlet.models.depth.blocks_of` the module with most of its parameters, if it has several layers
    (a convolution and its norm are two). A module that shares a parameter with others outside it is no block. Blocks do
    not overlap. A network of single layers has none.
    """
    prefix, network = ("backbone.", model.get_submodule("backbone")) if hasattr(model, "backbone") else ("", model)
    candidates = {name: _parameters(module) for name, module in network.named_modules() if name and _has_layers(module)}
    found: dict[str, nn.Module] = {}
    for block in blocks_of(network):
        own = {id(parameter): parameter.numel() for _, parameter in block}
        sizes = {name: sum(own[key] for key in keys) for name, keys in candidates.items() if keys <= own.keys()}
        if sizes:
            name = max(sizes, key=lambda name: sizes[name])  # of equal ones the first, which is the outermost
            module = network.get_submodule(name)
            if not _shares(module, model):
                found[prefix + name] = module
    return found


def _parameters(module: nn.Module) -> frozenset[int]:
    return frozenset(id(parameter) for parameter in module.parameters())


def _has_layers(module: nn.Module) -> bool:
    """Whether it can be called and is of several layers; a layer with a parametrized weight is one layer."""
    if isinstance(module, nn.ModuleList | nn.ModuleDict) or hasattr(module, "parametrizations"):
        return False
    return sum(any(True for _ in part.parameters(recurse=False)) for part in module.modules()) > 1


def _shares(module: nn.Module, model: nn.Module) -> bool:
    """Whether a parameter of the module also belongs to something in the model that is outside it."""
    inside, own = set(module.modules()), _parameters(module)
    return any(
        id(parameter) in own
        for other in model.modules()
        if other not in inside
        for parameter in other.parameters(recurse=False)
    )
