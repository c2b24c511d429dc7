"""`circlet suggest`: look at what a run has logged and say what to change."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.compare import suggest_for

DESCRIPTION = """Say what to change in a run (gamma, margin, learning rate, warm-up, steps), and which numbers say so.

It reads the run's settings and metrics.jsonl (loss, telemetry, validation), also while the run is going on and when it
has diverged.

examples:
  circlet suggest runs/glyphs-1"""


@dataclass(frozen=True)
class SuggestArguments:
    """What `circlet suggest` is told."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""


def main(arguments: list[str]) -> None:
    """Read, judge, print."""
    told = tyro.cli(SuggestArguments, args=arguments, prog="circlet suggest", description=DESCRIPTION)
    found = suggest_for(told.run)
    for suggestion in found:
        print(f"{suggestion.problem}\n  seen:   {suggestion.evidence}\n  change: {suggestion.change}")
    if not found:
        print("nothing to change by these rules; `circlet compare` tries settings on held-out training classes")
