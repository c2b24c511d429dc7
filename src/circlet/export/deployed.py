"""The network as it is deployed: uint8 pixels in, unit vectors out; all between them is one graph.

In it are: the change from (height, width, channels) to channels first, the part of the image that is seen and its
scaling, mean and standard deviation, mirror image and five crops where the model was tested with them, the network, and
the unit length. Not in it: decoding and resizing (`circlet.export.snippet` says how).
"""

import copy

import torch
from torch import Tensor, nn

from circlet.inference import Model
from circlet.models import Embedder, View, evaluating, folded, plain_view, views


class Deployed(nn.Module):
    """Images (batch, height, width, channels), uint8 of the decoded size, to unit vectors (batch, dim), float32.

    A zero embedding stays zero, as everywhere.
    """

    def __init__(self, network: Embedder, view: View) -> None:
        super().__init__()
        self.network, self.view = network, view

    def forward(self, images: Tensor) -> Tensor:
        """As `circlet.inference.Model.embed` does, for images that are decoded already."""
        view, pixels = self.view, images.permute(0, 3, 1, 2).float() / 255
        seen = pixels if view.five_crops else plain_view(pixels, view.size, view.crop_share)
        each = [self.network(part) for part in views(seen, flip=view.flip, crop=view.size if view.five_crops else None)]
        total: Tensor = each[0].float()
        for more in each[1:]:
            total = total + more.float()
        norm = torch.linalg.vector_norm(total, dim=1, keepdim=True)
        return total / torch.where(norm > 0, norm, torch.ones_like(norm))


def deployed(model: Model) -> Deployed:
    """A copy of the model's network on the CPU, in evaluation mode, with batch norms folded into convolutions."""
    network = copy.deepcopy(model.network).cpu().float()
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    example = torch.rand(2, network.channels, *model.view.size, generator=generator)
    with evaluating(network):
        network.backbone = folded(network.backbone, network.normalized(example))
    for module in network.modules():  # timm's name for PyTorch's own attention, which ONNX lacks for Hiera's 5D queries
        if getattr(module, "fused_attn", False):
            module.fused_attn = False  # type: ignore[assignment]
    return Deployed(network.eval(), model.view).eval()
