"""What heads are trained on where vectors are given: the vectors, or what their network has become of them.

The twin of `Frozen` for images, which computes features and keeps them; here they are at hand, and nothing is kept.
"""

import time

import torch
from torch import Tensor

from circlet.data.pixels import Pixels
from circlet.models import evaluating
from circlet.models.vector_network import VectorNetwork
from circlet.similarity import unit_rows
from circlet.transfer.features import LOOKS, Frozen, Seen

_AT_ONCE = 4096


class GivenVectors(Frozen):
    """As `Frozen`, of a model whose backbone is a `VectorNetwork` and of sets of vectors."""

    def features(self, pixels: Pixels, look: Seen = LOOKS[0]) -> Tensor:
        """(n, dim) on the CPU; before any training of the network the vectors, each of length sqrt(dim)."""
        assert look == LOOKS[0], "a vector has no mirror image"
        assert pixels.memory is not None
        network = self.model.backbone
        assert isinstance(network, VectorNetwork)
        forward = network.scaled if network.is_untrained else network
        with evaluating(self.model), torch.no_grad():
            return torch.cat([forward(rows.to(self.device)).cpu() for rows in pixels.memory.split(_AT_ONCE)])

    def raw_pixels(self, pixels: Pixels) -> Tensor:
        """(n, dim) unit rows: the vectors as they were given."""
        assert pixels.memory is not None
        return unit_rows(pixels.memory.flatten(1))

    def missing(self, pixels: Pixels, count: int = 1) -> int:
        """None: there is nothing to wait for."""
        return 0

    def images_per_second(self, pixels: Pixels, seconds: float = 3.0) -> float:
        """How many vectors a second go through the network here."""
        assert pixels.memory is not None
        rows, done, began = pixels.memory[:_AT_ONCE].to(self.device), 0, time.monotonic()
        with evaluating(self.model), torch.no_grad():
            while done == 0 or time.monotonic() - began < min(seconds, 0.2):
                self.model.backbone(rows)
                done += len(rows)
        return done / max(time.monotonic() - began, 1e-6)
