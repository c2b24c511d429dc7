"""Multiple Granularity Network: whole body and stripes of it, in one vector (Wang et al., ACM Multimedia 2018).

A ResNet-50 parts after the first block of its third stage into three branches, which see the whole, two and three
horizontal stripes. Each whole and each stripe is max-pooled and reduced to 256 features: (1 + 3 + 4) x 256 = 2048.

Differs from Wang et al.: they train a softmax or a triplet loss on every part; here the parts are concatenated into
one embedding under a single loss, as in the Circle-loss paper (section 4.3).
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from circlet.models.resnet import early_layers, initialize, stage

STRIPES = (1, 2, 3)


class MGN(nn.Module):
    """Images (batch, channels, height, width), 384 x 128 as published, to embeddings (batch, 8 width).

    >>> with torch.device("meta"):
    ...     MGN()(torch.empty(2, 3, 384, 128)).shape
    torch.Size([2, 2048])

    width: features of each of the eight parts. The embedding's parts are, in order: whole; whole, 2 stripes; whole,
    3 stripes. `load_state_dict` also takes the tensors of a ResNet-50: each branch gets its own copy of the later
    stages, and the reductions stay as they are.
    """

    def __init__(self, channels: int = 3, *, width: int = 256) -> None:
        super().__init__()
        self.shared = nn.Sequential(early_layers(channels))
        self.shared.layer3 = stage(512, 256, 1, stride=2)
        self.branches = nn.ModuleList(_branch(last_stride=2 if stripes == 1 else 1) for stripes in STRIPES)
        num_parts = sum(1 if stripes == 1 else 1 + stripes for stripes in STRIPES)
        self.reductions = nn.ModuleList(_reduction(2048, width) for _ in range(num_parts))
        initialize(self)
        self.register_load_state_dict_pre_hook(_spread_resnet)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, 8 width)."""
        if x.shape[2] < 16 * max(STRIPES):
            raise ValueError(f"images: found {x.shape[2]} rows, expected at least {16 * max(STRIPES)}, 16 a stripe")
        x = self.shared(x)
        parts: list[Tensor] = []
        for stripes, branch in zip(STRIPES, self.branches, strict=True):
            maps = branch(x)
            parts.append(maps.amax((2, 3)))
            if stripes > 1:
                parts.extend(stripe.amax((2, 3)) for stripe in maps.tensor_split(stripes, dim=2))
        return torch.cat([reduce(part) for reduce, part in zip(self.reductions, parts, strict=True)], 1)


def _branch(*, last_stride: int) -> nn.Sequential:
    """The rest of a ResNet-50, from the second block of its third stage on, and named as there."""
    return nn.Sequential(
        OrderedDict(
            layer3=stage(512, 256, 6, stride=2)[1:],
            layer4=stage(1024, 512, 3, stride=last_stride),
        )
    )


def _reduction(in_features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True))


def _spread_resnet(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Turn the tensors of a ResNet-50, if these are such, into those of an MGN; called by `load_state_dict`."""
    if prefix + "layer4.0.conv1.weight" not in state:
        return
    own = module.state_dict(prefix=prefix)
    for name in [name for name in state if name.startswith(prefix)]:
        value, inner = state.pop(name), name.removeprefix(prefix)
        shared = f"{prefix}shared.{inner}"
        branches = [f"{prefix}branches.{i}.{inner}" for i in range(len(STRIPES))]
        targets = [shared] if shared in own else [target for target in branches if target in own]
        state.update(dict.fromkeys(targets or [name], value))
    for name, value in own.items():
        if name.startswith(prefix + "reductions."):
            state.setdefault(name, value)
