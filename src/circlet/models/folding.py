"""Batch norms folded into the convolutions before them: the same numbers in two thirds of the time, for inference.

    bn(w * x + b) = (w g / s) * x + (b - mean) g / s + beta,    s = sqrt(var + eps),  g, beta the scale and shift

A batch norm belongs to a convolution if it is given just what that gave, which is seen by trying it on an image. Batch
norms that do more than that (timm's, with an activation inside) stay as they are.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from circlet.models.mode import evaluating

TOLERANCE = 1e-3  # of the largest output: rounding in other places gives some 1e-5


@torch.no_grad()
def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy of the network for evaluation mode, with batch norms folded; the network itself if none can be.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> folded(network, torch.zeros(1, 3, 8, 8))
    Sequential(
      (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): ReLU()
    )

    images: (batch, channels, height, width) on which it is tried: where the copy gave anything else than the network (a
    convolution whose output goes elsewhere too), the network itself is given.
    """
    with evaluating(network):
        expected, pairs = _tried(network, images)
        if not pairs:
            return network
        changed = copy.deepcopy(network)
        for conv, norm in pairs:
            _fold(changed, conv, norm)
        found = changed(images)
    same = torch.allclose(found, expected, rtol=0.0, atol=TOLERANCE * float(expected.abs().max()))
    return changed.eval() if same else network


def _tried(network: nn.Module, images: Tensor) -> tuple[Tensor, list[tuple[str, str]]]:
    """The output, and the names of each convolution and of the batch norm that was given what it gave."""
    outputs: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept, so that no other takes their place
    pairs: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def after(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                outputs[id(output)] = name, output
            elif id(given[0]) in outputs:
                pairs.append((outputs[id(given[0])][0], name))

        return module.register_forward_hook(after)

    chosen = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) or (type(module) is nn.BatchNorm2d and module.running_mean is not None)
    ]
    handles = [watch(name, module) for name, module in chosen]
    try:
        expected: Tensor = network(images)
    finally:
        for handle in handles:
            handle.remove()
    convs, norms = [conv for conv, _ in pairs], [norm for _, norm in pairs]
    once = [pair for pair in pairs if convs.count(pair[0]) == 1 and norms.count(pair[1]) == 1]
    return expected, once


def _fold(network: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    conv.weight, conv.bias = weight, bias
    parent, _, name = norm_name.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
