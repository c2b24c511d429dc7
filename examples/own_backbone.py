"""A backbone of your own: a class or function of the number of channels, from images to feature maps or vectors.

Run:     python examples/own_backbone.py
Prints:  what a short training finds on characters never seen in training.

Networks of open_clip, transformers or timm go in the same way: `def clip(channels): return MyWrapper(...)`. On the
command line: circlet train --model.backbone own_backbone:Patches --steps 20
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


if __name__ == "__main__":
    run = circlet.train(circlet.recipes.glyphs(backbone=Patches, steps=20, batch__classes=16), report=False)
    print(f"{run.path}: Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")
