"""`circlet suggest`: look at what a run has logged and say what to change."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.advise import suggest_for
from circlet.cli.common import Trust
from circlet.terminal import printable

DESCRIPTION = """Say what to change in a run (gamma, margin, learning rate, warm-up, steps), and which numbers say so.

It reads the run's settings and metrics.jsonl (loss, telemetry, validation), also while the run is going on and when it
has diverged.

examples:
  circlet suggest runs/glyphs-1"""


@dataclass(frozen=True)
class SuggestArguments:
    """Arguments of `circlet suggest`."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""


def main(arguments: list[str]) -> None:
    """Read, judge, print."""
    parsed = tyro.cli(SuggestArguments, args=arguments, prog="circlet suggest", description=DESCRIPTION)
    found = suggest_for(parsed.run, parsed.trust)
    for suggestion in found:
        problem, seen, change = map(printable, (suggestion.problem, suggestion.evidence, suggestion.change))
        print(f"{problem}\n  seen:   {seen}\n  change: {change}")
    if not found:
        print("nothing to change by these rules; `circlet compare` tries settings on held-out training classes")
