"""`circlet evaluate`: test a trained embedding again, on its own test classes or on other labelled images."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.cli.common import choose_device, table
from circlet.data import Splits, every_image
from circlet.recipes import build_splits, load_run, load_test_set, test
from circlet.train import write_atomically

DESCRIPTION = """Test a trained embedding: Recall@K, R-Precision, MAP@R, MRR, beside those of the raw pixels.

examples:
  circlet evaluate runs/omniglot-1
  circlet evaluate runs/folder-1 --root other-photos --json other.json"""


@dataclass(frozen=True)
class EvaluateArguments:
    """What `circlet evaluate` is told."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="IMAGES")] = None
    """Folder or manifest in which every image queries all the others; by default the test classes of the run."""
    checkpoint: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Another checkpoint than the run's best or last."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the metrics to this file."""


def main(arguments: list[str]) -> None:
    """Load, embed, measure, print."""
    told = tyro.cli(EvaluateArguments, args=arguments, prog="circlet evaluate", description=DESCRIPTION)
    device = choose_device(told.device)
    experiment, model = load_run(told.run, device, told.checkpoint)
    if told.root is None:
        splits = build_splits(experiment.data)
    else:
        images = every_image(told.root)
        splits = Splits(images, images, closed_set=True)
    test_set = load_test_set(splits, experiment.data, [])
    outcome = test(model, test_set, experiment, device)
    rows = {"raw pixels": outcome.raw_pixels, "embedding": outcome.metrics}
    print(f"{test_set.query.images.num_classes} classes, {len(test_set.query.images)} queries\n{table(rows)}")
    if told.json is not None:
        text = json.dumps({"test": outcome.metrics, "raw_pixels": outcome.raw_pixels}, indent=2)
        write_atomically(told.json, lambda file: file.write(text.encode() + b"\n"))
