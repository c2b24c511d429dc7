"""A data set and a recipe small enough that a run is mostly the start of its process."""

from dataclasses import replace

import pytest
from PIL import Image, ImageDraw

from circlet.recipes import RECIPES


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Twelve classes of five images: an ellipse of its own shape and colour, moved about."""
    root = tmp_path_factory.mktemp("photos")
    for c in range(12):
        (root / f"{c:02}").mkdir()
        for i in range(5):
            image = Image.new("RGB", (24, 24), "white")
            colour = (20 * c, 90, 200 - 15 * c)
            ImageDraw.Draw(image).ellipse((2 + i, 2, 9 + c, 20 - c % 4), fill=colour)
            image.save(root / f"{c:02}" / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def tiny(photos):
    """The folder recipe on it, for a few steps."""
    whole = RECIPES["folder"]()
    return replace(
        whole,
        data=replace(whole.data, root=photos, size=(20, 20), validation_share=0.0),
        model=replace(whole.model, size=(16, 16), embedding_dim=16),
        batch=replace(whole.batch, classes=4, samples=3),
        loop=replace(whole.loop, steps=4, log_every=1, checkpoint_every=2, precision="fp32"),
        ks=(1, 2),
    )
