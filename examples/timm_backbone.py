"""timm: any of its networks as the backbone, by name, or as a module in a loop of your own.

Run:     python examples/timm_backbone.py      (pip install 'circlet[timm]')
Prints:  what a short training of a ResNet-10 from random weights finds on characters never seen in training.

With published weights: circlet train folder --root photos --model.backbone timm/vit_small_patch14_dinov2.lvd142m;
size, mean, deviation and crop are then those of the weights. From a folder that timm saved: timm/local-dir:PATH.
"""

import timm
import torch

import circlet
from circlet.data import glyphs

settings = {"steps": 10, "batch__classes": 8, "augment__dihedral_classes": False, "model__pooling": "own"}
run = circlet.train(
    circlet.recipes.glyphs(backbone="timm/resnet10t", **settings), data=glyphs(num_instances=8), report=False
)
print(f"{run.path}: Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")

# The same network in a loop: without a classifier it gives vectors, which is all that a loss wants.
network = timm.create_model("resnet10t", in_chans=1, num_classes=0)
images, labels = torch.rand(16, 1, 32, 32), torch.arange(4).repeat_interleave(4)
loss = circlet.CircleLoss(margin=0.4, gamma=32.0)(network(images), labels)
loss.backward()
print(f"a step of one's own: loss {loss.item():.2f}, {network.num_features} features")
