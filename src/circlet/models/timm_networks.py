"""Networks of timm: with their own pooling, giving vectors, or without it, giving maps, whatever form they have.

A twin without memory (on torch's meta device) is built first: it tells whether the size can be taken and how the
output lies before anything is fetched. The network itself keeps timm's names of tensors.
"""

from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from circlet.models.maps import AsMaps, as_maps
from circlet.models.mode import evaluating
from circlet.models.timm_sources import Source, find_source, hub_errors, import_timm, weights_file
from circlet.models.weights import load_weights

FAILURES = (AssertionError, RuntimeError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError)


def timm_network(
    name: str,
    *,
    channels: int = 3,
    pretrained: bool = False,
    weights: str | PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    own_pooling: bool = False,
) -> nn.Module:
    """The network that `name` stands for: timm/<model>[.<tag>], timm/hf-hub:owner/name or timm/local-dir:path.

    own_pooling: vectors (batch, features), pooled as the network was made to (class token, average, attention); else
        maps (batch, features, h, w), or (batch, features, n, 1) of the n patches without class and register tokens.
    pretrained: with the published weights; those of the hub or a folder must fit to the last tensor.
    weights: a file instead. image_size: (height, width) of the images; None: that of the weights.

    Errors: as `backbone`.
    """
    source = find_source(name, fetch=pretrained)
    config = source.config
    own_size = tuple(config["input_size"][1:]) if "input_size" in config else (224, 224)
    if pretrained and source.place is None and not (config.get("url") or config.get("hf_hub_id")):
        with_weights = ", ".join(import_timm().list_pretrained(f"{source.model[:6]}*")[:5])
        raise ValueError(f"pretrained: found True with {name}, which has no published weights; expected a file of "
                         f"weights, or one that has: {with_weights or 'timm.list_pretrained()'}")  # fmt: skip
    twin, hook = _tried(source, channels, image_size or own_size, own_size, own_pooling)
    if torch.get_default_device().type == "meta" and weights is None and not pretrained:
        return twin if hook is None else _hooked(twin, hook)
    if weights is None and pretrained and source.place is not None:
        weights = weights_file(source)
    if weights is None:
        return _built(source, channels, image_size, hook, pretrained=pretrained)[0]
    return _filled(source, channels, image_size, own_size, hook, Path(weights))


def _built(
    source: Source, channels: int, image_size: tuple[int, int] | None, hook: AsMaps | None, pretrained: bool = False
) -> tuple[nn.Module, list[str]]:
    """The network, and the names of tensors that went with its pooling."""
    network = _created(source, channels, image_size, pretrained=pretrained)
    if hook is None:
        return network, []
    removed = _take_pooling_off(network, source.name)
    return _hooked(network, hook), removed


def _hooked(network: nn.Module, hook: AsMaps) -> nn.Module:
    network.register_forward_hook(hook)  # type: ignore[arg-type]
    network.as_maps = hook  # type: ignore[assignment]  # for `check_pooling`
    return network


def _created(source: Source, channels: int, size: tuple[int, int] | None, *, pretrained: bool = False) -> nn.Module:
    timm = import_timm()
    arguments: dict[str, Any] = {**source.arguments, "in_chans": channels, "num_classes": 0}
    if not arguments.get("global_pool", True):
        del arguments["global_pool"]  # of a network saved without its pooling
    if source.place is not None:
        arguments["pretrained_cfg"] = source.config
    if size is not None and source.config.get("fixed_input_size"):
        arguments["img_size"] = size
    with hub_errors(source.name):
        network: nn.Module = timm.create_model(source.model, pretrained=pretrained, **arguments)
    return network


def _take_pooling_off(network: nn.Module, name: str) -> list[str]:
    """Let the network give what its pooling would get; the names of the tensors that are gone with it."""
    before = network.state_dict().keys()
    try:
        network.reset_classifier(0, "")  # type: ignore[operator]
        vectors = type(network).__name__ == "VisionTransformerDistilled"  # it averages two tokens whatever one says
    except AssertionError:
        vectors = True
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{name}: its pooling cannot be taken off ({error}), expected pooling own") from error
    if vectors:
        network.head = nn.Identity()
        network.forward = network.forward_features  # type: ignore[assignment]
    after = network.state_dict().keys()
    return [tensor for tensor in before if tensor not in after]


def _tried(
    source: Source, channels: int, size: tuple[int, int], own_size: tuple[int, int], own_pooling: bool
) -> tuple[nn.Module, AsMaps | None]:
    """A twin without memory, and how to make maps of what it gives (None: vectors, its own pooling)."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            twin = _created(source, channels, size)
        except FAILURES as error:
            raise _refused(source, size, own_size, error) from error
        if not own_pooling:
            _take_pooling_off(twin, source.name)
        step = _patch_size(twin)
        if any(side % of for side, of in zip(size, step, strict=True)):
            raise ValueError(f"size: found {size[0]} x {size[1]} with {source.name}, expected multiples of "
                             f"{' x '.join(map(str, sorted(set(step))))}, the side of its patches")  # fmt: skip
        try:
            with torch.no_grad(), evaluating(twin):
                output: object = twin(torch.empty(2, channels, *size))
        except FAILURES as error:
            raise _refused(source, size, own_size, error) from error
    if not own_pooling:
        return twin, as_maps(source.name, twin, output, size)
    if not (isinstance(output, Tensor) and output.ndim == 2 and output.numel()):
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{source.name}: gave {found} with its own pooling, expected vectors (2, features)")
    return twin, None


def _refused(
    source: Source, size: tuple[int, int], own_size: tuple[int, int], error: Exception
) -> ValueError | ImportError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    if size == own_size:
        return ValueError(f"{source.name}: failed on images of {size[0]} x {size[1]} ({reason})")
    return ValueError(f"size: found {size[0]} x {size[1]} with {source.name}, expected a size that it can take, such "
                      f"as that of its weights, {own_size[0]} x {own_size[1]} ({reason})")  # fmt: skip


def _patch_size(network: nn.Module) -> tuple[int, int]:
    """The sides of the patches that an image is cut into without overlap; what is left over would be ignored."""
    for module in network.modules():
        if isinstance(module, import_timm().layers.PatchEmbed) and not module.dynamic_img_pad:
            height, width = module.patch_size
            return height, width
    return 1, 1


def _filled(
    source: Source,
    channels: int,
    image_size: tuple[int, int] | None,
    own_size: tuple[int, int],
    hook: AsMaps | None,
    path: Path,
) -> nn.Module:
    """The network with the weights of a file: of the images' size and channels, or of its own ones, which are adapted.

    As timm adapts those that it fetches: positions are resampled, the weights of the first layer added up over colours.
    """
    config, timm = source.config, import_timm()
    own_channels = config["input_size"][0] if "input_size" in config else 3
    classifiers, stems = _names(config.get("classifier")), _names(config.get("first_conv"))
    network, removed = _built(source, channels, image_size, hook)
    ignored = (*removed, *(f"{classifier}." for classifier in classifiers))
    fixed = config.get("fixed_input_size") and hasattr(network, "set_input_size")
    resampled = fixed and image_size not in (None, own_size)
    try:
        load_weights(network, path, ignore=ignored)
        return network
    except ValueError:
        if not resampled and (channels == own_channels or not stems):
            raise
    as_saved, _ = _built(source, own_channels, own_size, hook)
    load_weights(as_saved, path, ignore=ignored)
    if resampled:
        as_saved.set_input_size(img_size=image_size)  # type: ignore[operator]
    tensors = as_saved.state_dict()
    if channels != own_channels:
        for stem in stems:
            tensors[f"{stem}.weight"] = timm.models.adapt_input_conv(channels, tensors[f"{stem}.weight"])
    network.load_state_dict(tensors)
    return network


def _names(given: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())
