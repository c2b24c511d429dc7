"""A backbone of your own: a class or function of the number of channels, from images to feature maps or vectors.

Run:     python examples/own_backbone.py
Prints:  what a short training of `Patches` finds on characters never seen in training.

On the command line: circlet train --model.backbone own_backbone:Patches --steps 20. Networks of other packages go in
the same way; `dinov2` and `clip` give vectors, so their pooling is "own":
circlet train folder --root photos --model.backbone own_backbone:dinov2 --model.pooling own --model.size 224 224
"""

from torch import Tensor, nn

import circlet


class Patches(nn.Module):
    """Patches of 8 x 8 pixels, mixed by two convolutions: (batch, channels, H, W) to (batch, 64, H / 8, W / 8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 64, 8, stride=8),
            nn.GELU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.GELU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class ClassToken(nn.Module):
    """A vision transformer of `transformers`: its class token; `last_hidden_state[:, 1:]` are those of the patches."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(pixel_values=images).last_hidden_state[:, 0]


def dinov2(channels: int, name: str = "facebook/dinov2-small") -> nn.Module:
    from transformers import AutoModel  # pip install transformers

    return ClassToken(AutoModel.from_pretrained(name, use_safetensors=True))


def clip(channels: int, name: str = "ViT-B-32", weights: str = "laion2b_s34b_b79k") -> nn.Module:
    import open_clip  # pip install open_clip_torch

    return open_clip.create_model(name, pretrained=weights).visual  # the image tower: vectors


if __name__ == "__main__":
    run = circlet.train(circlet.recipes.glyphs(backbone=Patches, steps=20, batch__classes=16), report=False)
    print(f"{run.path}: Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")
