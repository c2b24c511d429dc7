"""Feature maps (batch, features, h, w) out of whatever a network of timm gives before its pooling.

How its output lies is never guessed from the shape alone: it must agree with what the network says of itself, the
number of features, the format, the number of tokens before those of the patches, the step between patches.
"""

import math
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

Layout = Literal["NCHW", "NHWC", "tokens"]


class AsMaps(NamedTuple):
    """A forward hook that turns a network's output into maps; tokens of n patches are maps (batch, features, n, 1)."""

    name: str
    layout: Layout
    features: int
    prefix: int = 0
    """Tokens before those of the patches: class and registers, left out."""

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """(batch, features, h, w) as it is; (batch, h, w, features) and (batch, prefix + n, features) turned."""
        ndim, axis = {"NCHW": (4, 1), "NHWC": (4, 3), "tokens": (3, 2)}[self.layout]
        if output.ndim != ndim or output.shape[axis] != self.features:
            raise ValueError(f"{self.name}: gave shape {tuple(output.shape)}, expected {self.features} features, "
                             f"{self.layout}")  # fmt: skip
        if self.layout == "NCHW":
            return output
        if self.layout == "NHWC":
            return output.permute(0, 3, 1, 2)
        return output[:, self.prefix :].transpose(1, 2).unsqueeze(3)


def as_maps(name: str, network: nn.Module, output: object, image_size: tuple[int, int]) -> AsMaps:
    """How to make maps of `output`, which `network` gave for images of that size; ValueError for what is not clear."""
    stated = (getattr(network, key, None) for key in ("num_features", "head_hidden_size"))
    features = {number for number in stated if isinstance(number, int)}
    expected = f"maps or tokens of {' or '.join(map(str, sorted(features))) or 'a known number of'} features"
    if not isinstance(output, Tensor):
        raise ValueError(f"{name}: gave {type(output).__name__} without its pooling, expected {expected}; pooling own "
                         "is what it was made for")  # fmt: skip
    shape = tuple(output.shape)
    declared = getattr(network, "output_fmt", None)
    candidates: list[AsMaps] = []
    if len(shape) == 4:
        if shape[1] in features and declared in (None, "NCHW"):
            candidates.append(AsMaps(name, "NCHW", shape[1]))
        if shape[3] in features and declared in (None, "NHWC"):
            candidates.append(AsMaps(name, "NHWC", shape[3]))
    elif len(shape) == 3 and shape[2] in features:
        prefix = _num_prefix_tokens(network)
        expected += f", {prefix} of them before those of the patches"
        if shape[1] == prefix + (_num_places(network, image_size) or -1):
            candidates.append(AsMaps(name, "tokens", shape[2], prefix))
    if len(candidates) != 1:
        raise ValueError(f"{name}: gave shape {shape} without its pooling, expected {expected}; pooling own is what it "
                         "was made for")  # fmt: skip
    return candidates[0]


def check_pooling(backbone: nn.Module, pooling: str) -> None:
    """ValueError where a network of timm was built for another pooling than this one."""
    found = getattr(backbone, "as_maps", None)
    if not isinstance(found, AsMaps):
        return
    if pooling == "own":
        raise ValueError(f"pooling: found own with {found.name} built for maps, expected it to be built by "
                         "backbone(..., pooling='own')")  # fmt: skip
    if pooling == "flatten" and found.layout == "tokens":
        raise ValueError(f"pooling: found flatten with {found.name}, which gives tokens; expected own, average, max, "
                         "average+max or gem")  # fmt: skip


def _num_prefix_tokens(network: nn.Module) -> int:
    """As the network states; without a word, as many as it has class tokens to put in front."""
    stated: Any = getattr(network, "num_prefix_tokens", None)
    if stated is None and isinstance(token := getattr(network, "cls_token", None), nn.Parameter):
        stated = token.shape[1]
    return stated or 0


def _num_places(network: nn.Module, image_size: tuple[int, int]) -> int | None:
    """The number of patches of an image, from the step that the network states."""
    info: Any = getattr(network, "feature_info", None)
    step = info[-1].get("reduction") if isinstance(info, list) and info else None
    return math.prod(math.ceil(side / step) for side in image_size) if step else None
