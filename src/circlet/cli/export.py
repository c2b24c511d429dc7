"""`circlet export`: a model as ONNX, checked against the model, or as one file for circlet; with its card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from circlet.cli.common import Trust
from circlet.export import Export, export
from circlet.export.card import title_of
from circlet.inference import load_model
from circlet.terminal import printable

DESCRIPTION = """Write a model as a file to deploy or to pass on.

onnx: uint8 images (batch, height, width, channels) in, unit vectors out, any batch. It is compared with the model on
test images of the run, by onnxruntime; where any number of a unit vector is more than 1e-4 away, nothing is written.
Resizing is not in it: README.md has the ten lines that do it. --int8: in eight bits, calibrated on training images;
what that costs on the test classes is printed. safetensors: for circlet.load, with thresholds and preprocessing.

Beside the file: README.md, the model card as the Hugging Face Hub has it, and export.json. It needs pip's extra
circlet[export].

examples:
  circlet export runs/folder-1                        runs/folder-1/export/model.onnx
  circlet export runs/folder-1 --int8
  circlet export runs/folder-1 --to safetensors --out birds.safetensors
  circlet export efficientnet_lite0 --images photos"""


@dataclass(frozen=True)
class ExportArguments:
    """Arguments of `circlet export`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|NAME")]
    """Run folder of circlet train, a .safetensors file of circlet export, or a pretrained network by name."""
    to: Literal["onnx", "safetensors"] = "onnx"
    """onnx: for anything that runs ONNX; safetensors: for circlet.load."""
    int8: bool = False
    """ONNX in eight bits: a quarter of the size; model-int8.onnx."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write; by default in the folder export of the run, or in NAME-export here."""
    images: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Images to compare with the model (and for --int8 to calibrate and measure, in a folder for each class), instead
    of those of the run."""
    licence: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Licence of the model, for its card, as the Hugging Face Hub spells it: mit, apache-2.0, cc-by-nc-4.0, other."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""


def main(arguments: list[str]) -> None:
    """Load, export, tell."""
    parsed = tyro.cli(ExportArguments, args=arguments, prog="circlet export", description=DESCRIPTION)
    model = load_model(parsed.model, trust=parsed.trust, device="cpu")
    done = export(model, to=parsed.to, int8=parsed.int8, out=parsed.out, images=parsed.images, licence=parsed.licence,
                  trust=parsed.trust)  # fmt: skip
    for line in told(done):
        print(printable(line))


def told(done: Export) -> list[str]:
    """What was done, in lines."""
    lines = []
    if done.difference is not None:
        lines.append(f"as the model to {done.difference:.1g} on {done.compared_on}, by onnxruntime")
    if (eight := done.int8) is not None:
        shown = [name for name in ("recall@1", "map@r", "rank-1", "mAP") if name in eight.cost]
        cost = ", ".join(
            f"{title_of(name)} {eight.whole[name]:.3f} to {eight.eight[name]:.3f} ({eight.cost[name]:+.4f})"
            for name in shown
        )
        lines.append(f"eight bits ({eight.way}; cosine to the model's vectors {eight.cosine:.4f}): {cost}, on the test "
                     "classes")  # fmt: skip
    lines.append(f"{done.path}: {done.path.stat().st_size / 1e6:.1f} MB")
    if not done.card:
        lines.append(f"{done.path.with_name('README.md')}: stays as it was, since it was edited or is not of circlet "
                     "export")  # fmt: skip
    return lines
