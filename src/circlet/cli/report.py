"""`circlet report`: build the report of a finished run again, from its folder and its images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.cli.common import Trust, choose_device
from circlet.report import run_report
from circlet.terminal import printable

DESCRIPTION = """Build the report of a finished run again: report.html in its folder.

The test images are embedded anew with the run's checkpoint; its metrics are those that it wrote. Runs of circlet
compare (in runs/ of its folder) and of circlet figure have a report in this way too. Where the run's images have moved:
circlet train --resume RUN --root PATH --no-report, once.

examples:
  circlet report runs/omniglot-1
  circlet report runs/folder-1 --out report.html"""


@dataclass(frozen=True)
class ReportArguments:
    """Arguments of `circlet report`."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write; by default report.html in the run folder."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Load, embed, write."""
    parsed = tyro.cli(ReportArguments, args=arguments, prog="circlet report", description=DESCRIPTION)
    path = run_report(parsed.run, choose_device(parsed.device), parsed.out, trust=parsed.trust)
    print(f"report: {printable(str(path.resolve()))}")
