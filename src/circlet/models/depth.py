"""The blocks of a network in their order, from the input on: for freezing the first, or training them more slowly.

A network of timm says itself which of its parameters are a block (`group_matcher`). Of any other the order of
definition is taken for the order of computation; blocks that work side by side, as MGN's branches, follow one another.
"""

from collections.abc import Iterator

from torch import nn

from circlet.models.timm_sources import import_timm

Block = list[tuple[str, nn.Parameter]]
"""Parameters by their names in the whole network."""

NEARLY_ALL = 0.9  # of the parameters: a part that holds so many is a wrapped network, and no block of one


def blocks_of(backbone: nn.Module) -> list[Block]:
    """The parameters of each block, from the input to the output; every parameter is in exactly one.

    >>> stem, body = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1))
    >>> network = nn.Sequential(stem, nn.BatchNorm2d(4), body)
    >>> [[name for name, _ in block] for block in blocks_of(network)]
    [['0.weight', '0.bias', '1.weight', '1.bias'], ['2.0.weight', '2.0.bias'], ['2.1.weight', '2.1.bias']]

    Where timm does not say: what stands in a Sequential or ModuleList, at any depth, is a block each, as is a module
    beside them. A part that has nothing but vectors (a norm, a PReLU) belongs to the block before it, and parameters
    of the network itself (class token, position embedding) to the first one. A part with nearly all parameters is the
    network proper, in a wrapper, and is looked into. A network without parameters has no blocks.
    """
    whole = sum(parameter.numel() for parameter in backbone.parameters())
    parameters = dict(backbone.named_parameters())
    blocks: list[Block] = []
    first: Block = []  # what would join a block before the first one
    for names, joins in _units(backbone, "", whole):
        block = [(name, parameters.pop(name)) for name in names if name in parameters]  # a shared one counts once
        if joins:
            (blocks[-1] if blocks else first).extend(block)
        elif block:
            blocks.append(first + block)
            first = []
    return [first] if first else blocks


def depth_of(backbone: nn.Module) -> dict[str, int]:
    """The place of each parameter's block, by the parameter's name: 0 at the input; see `blocks_of`.

    >>> depth_of(nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)))
    {'0.weight': 0, '2.weight': 1, '2.bias': 1}
    """
    return {name: depth for depth, block in enumerate(blocks_of(backbone)) for name, _ in block}


def _units(module: nn.Module, prefix: str, whole: int) -> Iterator[tuple[list[str], bool]]:
    """(names of parameters, whether they belong to the block before them), in the order of definition."""
    by_timm = _by_timm(module)
    if by_timm is not None:
        for names in by_timm:
            yield [prefix + name for name in names], False
        return
    yield [prefix + name for name, _ in module.named_parameters(recurse=False)], True
    for child_name, child in module.named_children():
        name = f"{prefix}{child_name}."
        if _is_looked_into(child, whole):
            yield from _units(child, name, whole)
        else:
            is_vectors = all(parameter.ndim <= 1 for parameter in child.parameters())
            yield [name + inner for inner, _ in child.named_parameters()], is_vectors


def _is_looked_into(module: nn.Module, whole: int) -> bool:
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return True
    if hasattr(module, "parametrizations") or not list(module.children()):
        return False
    return sum(parameter.numel() for parameter in module.parameters()) > NEARLY_ALL * whole


def _by_timm(module: nn.Module) -> list[list[str]] | None:
    """The blocks as a network of timm describes them; None for any other."""
    matcher = getattr(module, "group_matcher", None)
    if matcher is None:
        return None
    try:
        import_timm()
        from timm.models import group_parameters
    except ImportError:  # or a torchvision that does not fit: this is no model of timm
        return None

    groups: dict[int, list[str]] = group_parameters(module, matcher(coarse=False))
    return [groups[place] for place in sorted(groups)]
