"""`circlet verify`: whether two images are of one class."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from circlet.cli.common import Trust, choose_device
from circlet.cli.queries import asked_images, chosen_source, open_to_read
from circlet.index import verify
from circlet.inference import DEFAULT, load_model
from circlet.terminal import printable

DESCRIPTION = """Say whether two images are of one class: same or different.

They are if their cosine similarity is at least a threshold, chosen for a wanted FAR, the share of pairs of different
classes that are taken for one: that of a run, chosen on its validation classes, or that of an index. A pretrained
network as it is has none: then the similarity alone is told.

examples:
  circlet verify a.jpg b.jpg --run runs/folder-1
  circlet verify a.jpg b.jpg --index photos.index
  circlet verify a.jpg b.jpg --run runs/folder-1 --far 0.0001
  circlet verify a.jpg b.jpg --threshold 0.8

Exit status: 0 whatever the answer, 1 after an error."""


@dataclass(frozen=True)
class VerifyArguments:
    """Arguments of `circlet verify`."""

    first: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A")]
    """An image."""
    second: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B")]
    """Another."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Run folder whose model and thresholds to use."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """A .safetensors file of circlet export, or a pretrained network by name; by default efficientnet_lite0."""
    index: Annotated[str | None, tyro.conf.arg(metavar="INDEX")] = None
    """Index of circlet index whose model and thresholds to use."""
    far: float = 1e-3
    """Share of pairs of different classes that may be taken for one."""
    threshold: float | None = None
    """Accept from this cosine similarity on instead."""
    format: Literal["table", "json"] = "table"
    """table: text; json: the same for programs."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Load, embed, compare, print."""
    parsed = tyro.cli(VerifyArguments, args=arguments, prog="circlet verify", description=DESCRIPTION)
    source, device = chosen_source(parsed.run, parsed.model), choose_device(parsed.device)
    if parsed.index is not None and source is not None:
        raise ValueError("--index: found with --run or --model, expected one of them")
    pair = [asked_images([path]) for path in (parsed.first, parsed.second)]
    if parsed.index is None:
        model, thresholds = load_model(source or DEFAULT, trust=parsed.trust, device=device), None
    else:
        with open_to_read(parsed.index, None, parsed.trust, device) as index:
            model, thresholds = index.model, index.thresholds
    found = verify(model, *pair, far=parsed.far, threshold=parsed.threshold, thresholds=thresholds)
    if parsed.format == "json":
        rate = None if found.threshold is None else found.threshold.rate
        print(json.dumps({"same": found.same, "similarity": found.similarity, "threshold": found.accept_from,
                          "far": rate, "sentence": found.sentence}, indent=2))  # fmt: skip
        return
    print(printable(found.sentence))
