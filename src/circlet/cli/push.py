"""`circlet push`: a model, its card and its exports to the Hugging Face Hub."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from circlet.cli.common import Trust
from circlet.export import push
from circlet.inference import load_model
from circlet.terminal import printable, say

DESCRIPTION = """Upload a model to the Hugging Face Hub, in one commit.

model.safetensors and its card, README.md, are written into the export folder of the run and uploaded, with model.onnx
and model-int8.onnx where circlet export has made them of this model. README.md may be edited before; it stays as you
leave it. Images, logs and class names stay here. The token is that of $HF_TOKEN or hf auth login, the address
$HF_ENDPOINT. Pip's extra: circlet[hub].

examples:
  circlet push runs/folder-1 me/birds --private
  circlet push runs/folder-1 me/birds --licence cc-by-nc-4.0"""


@dataclass(frozen=True)
class PushArguments:
    """Arguments of `circlet push`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train, or a .safetensors file of circlet export."""
    repository: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]
    """Repository on the hub; made if it is not there."""
    private: bool = False
    """Visible to its owner alone; an error for one that is public already."""
    licence: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Licence of the model, for its card, as the hub spells it."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""


def main(arguments: list[str]) -> None:
    """Load, write, upload."""
    parsed = tyro.cli(PushArguments, args=arguments, prog="circlet push", description=DESCRIPTION)
    model = load_model(parsed.model, trust=parsed.trust, device="cpu")
    done = push(model, parsed.repository, private=parsed.private, licence=parsed.licence, trust=parsed.trust)
    for name in done.left:
        say(f"{name}: left out, since it was made of another model or was changed; circlet export makes it again")
    print(printable(f"{done.url}: {', '.join(done.files)}, commit {done.commit[:8]}"))
