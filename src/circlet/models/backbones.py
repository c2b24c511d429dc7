"""Backbones by name: the small network of this library, or any of timm's (an extra)."""

from torch import nn

from circlet.models.small import SmallResNet


def backbone(name: str, *, channels: int = 3, pretrained: bool = False) -> nn.Module:
    """The backbone `name`: "small", or "timm/<model>" for any model of timm that gives feature maps.

    pretrained: load timm's published weights (downloads them); "small" has none.
    Raises ImportError without the timm extra, ValueError for a name that neither knows.
    """
    if name == "small":
        if pretrained:
            raise ValueError("pretrained: found True with backbone 'small', which has no published weights")
        return SmallResNet(channels)
    family, _, model = name.partition("/")
    if family != "timm" or not model:
        raise ValueError(f"backbone: found {name!r}, expected 'small' or 'timm/<model>', such as timm/resnet50")
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"backbone {name}: timm is not installed; expected the extra: pip install 'circlet[timm]'"
        ) from error
    if not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model[:6]}*")[:5]) or "see timm.list_models()"
        raise ValueError(f"backbone: timm has no model {model!r}; near it: {near}")
    network: nn.Module = timm.create_model(
        model, pretrained=pretrained, in_chans=channels, num_classes=0, global_pool=""
    )
    return network
