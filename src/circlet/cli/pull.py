"""`circlet pull`: a model that somebody has pushed, from the Hugging Face Hub into a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.export import pull
from circlet.terminal import printable

DESCRIPTION = """Fetch a model that circlet push has uploaded: model.safetensors, its card and its ONNX files.

Each file is compared with its checksum on the hub; what else a repository has is passed over, and nothing in it is run.
An interrupted pull goes on where it was, and one done again fetches what has changed. For repositories that are not
public, the token is that of $HF_TOKEN or hf auth login; the address is $HF_ENDPOINT. Pip's extra: circlet[hub].

examples:
  circlet pull me/birds
  circlet pull me/birds --revision v2 --out birds-2
  circlet index photos --model birds/model.safetensors"""


@dataclass(frozen=True)
class PullArguments:
    """Arguments of `circlet pull`."""

    repository: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]
    """Repository on the hub."""
    revision: Annotated[str | None, tyro.conf.arg(metavar="REVISION")] = None
    """A branch, tag or commit; by default the latest."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder to write into; by default NAME, here."""


def main(arguments: list[str]) -> None:
    """Fetch, compare, tell."""
    parsed = tyro.cli(PullArguments, args=arguments, prog="circlet pull", description=DESCRIPTION)
    done = pull(parsed.repository, revision=parsed.revision, out=parsed.out)
    others = f"; {done.passed_over} others were passed over" if done.passed_over else ""
    print(printable(f"{done.folder}: {', '.join(done.files)}, commit {done.commit[:8]}{others}"))
