"""One method of `photographs.py` in a process of its own: the embeddings of the test images, and what it noted.

    python benchmarks/photographs_run.py METHOD FOLDER < settings.json

settings: root, split, seed, minutes, threads, rates. Writes FOLDER/embeddings.npy (images, dim), in the order of
`image_folder(root, held_out=.5, seed=split).query`, and FOLDER/info.json.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs_peers import VARIANTS, train
from torch import Tensor

from circlet.data import image_folder
from circlet.data.pixels import Pixels, load_pixels
from circlet.experiments import resolved
from circlet.experiments.build import build_model
from circlet.models import embed_pixels
from circlet.recipes import folder as recipe
from circlet.transfer import Frozen, WithinClasses

SHRINKAGE = 1.0


def main(method: str, folder: Path, settings: dict[str, Any]) -> None:
    """Embed the test images by one method."""
    torch.set_num_threads(settings["threads"])
    device = torch.device("cpu")
    experiment = resolved(recipe(root=settings["root"]))
    splits = image_folder(settings["root"], held_out=0.5, seed=settings["split"])
    test = load_pixels(splits.query, experiment.data.decoding)
    info: dict[str, Any] = {}
    if method in VARIANTS:
        budget = {"minutes": settings["minutes"], "seed": settings["seed"], "rates": tuple(settings["rates"])}
        model, info = train(VARIANTS[method], experiment, splits.train, **budget)
        embeddings = embed_pixels(model, test, experiment.view, device)
        package = "open-metric-learning" if VARIANTS[method].loss == "oml" else "pytorch-metric-learning"
        info["peer"] = f"{package} {importlib.metadata.version(package)}"
    else:
        model = build_model(experiment.model, experiment.data.channels)
        frozen = Frozen(model, experiment.view, experiment.data.decoding, device)
        embeddings = _of_frozen(method, frozen, load_pixels(splits.train, experiment.data.decoding), test)
    np.save(folder / "embeddings.npy", embeddings.float().numpy())
    (folder / "info.json").write_text(json.dumps(info))


def _of_frozen(method: str, frozen: Frozen, train_pixels: Pixels, test: Pixels) -> Tensor:
    if method == "frozen":
        return frozen.embeddings(test)
    assert method == "whitening"
    spread = WithinClasses(frozen.features(train_pixels), torch.from_numpy(train_pixels.images.labels))
    return frozen.embeddings(test, spread.whitening(SHRINKAGE))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin))
