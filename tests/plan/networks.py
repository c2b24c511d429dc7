"""Networks for the tests of plans."""

from torch import nn

from circlet.models import Embedder
from circlet.plan import Network
from circlet.plan.network import Activations

NETWORK = Network(
    name="a network", weights=1_000_000, largest=400_000, block=500_000, units=3, buffers=4096, flops=1e9,
    kept=Activations(2e6, 0.0, 1e5), recomputed=Activations(5e5, 0.0, 1e5), features=256,
)  # fmt: skip


def two_layers() -> Embedder:
    """Images of 3 x 8 x 8 through a convolution and a linear layer, both easily counted."""
    return Embedder(nn.Conv2d(3, 4, 3, padding=1), 5, image_size=(8, 8), mean=(0.5,), std=(0.5,))
