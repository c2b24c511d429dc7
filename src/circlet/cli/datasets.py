"""`circlet datasets`: which data sets can be read, how their files must lie, and whether a copy of one is whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.data.catalogue import DATA_SETS, EXTENSIONS, find_data_set
from circlet.data.check import check_data_set
from circlet.data.images import DataError
from circlet.terminal import printable

DESCRIPTION = """Data sets that circlet reads where they lie; it downloads none but Omniglot.

examples:
  circlet datasets                               list them
  circlet datasets show cub200                   layout, source, licence
  circlet datasets check cub200 /data/CUB_200_2011"""

Name = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True)
class ListArguments:
    """List the data sets with their published sizes."""


@dataclass(frozen=True)
class ShowArguments:
    """Show how the files of a data set must lie, where they come from, and under which licence."""

    name: Name
    """A data set of `circlet datasets`."""


@dataclass(frozen=True)
class CheckArguments:
    """Check that a copy is whole: lists and folders, published counts, and that a sample of the images opens."""

    name: Name
    """A data set of `circlet datasets`."""
    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[PATH]")] = None
    """Where it lies."""
    sample: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """How many images to decode of each role (train, query, gallery, ...)."""


def main(arguments: list[str]) -> None:
    """List, show or check."""
    parsed = tyro.cli(
        Annotated[ListArguments, tyro.conf.subcommand("list")]
        | Annotated[ShowArguments, tyro.conf.subcommand("show")]
        | Annotated[CheckArguments, tyro.conf.subcommand("check")],
        args=arguments or ["list"],
        prog="circlet datasets",
        description=DESCRIPTION,
    )
    if isinstance(parsed, ShowArguments):
        print(show(parsed.name))
    elif isinstance(parsed, CheckArguments):
        problems = check_data_set(parsed.name, parsed.path, sample=parsed.sample)
        print("\n".join(map(printable, problems)) or f"{parsed.name}: ok")
        if problems:
            raise DataError(f"{parsed.name}: found {len(problems)} problem{'s' * (len(problems) > 1)}, expected none")
    else:
        print(listing())


def listing() -> str:
    """The data sets as aligned text, a line each."""
    rows = [("name", "task", "images", "what")]
    rows += [(name, entry.task, _size(entry.counts), entry.title) for name, entry in DATA_SETS.items()]
    rows += [(name, "", "", f"of an installed package: {place}") for name, place in EXTENSIONS.registered().items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join((*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[3])) for row in rows
    )


def show(name: str) -> str:
    """All about one data set; ValueError for an unknown name."""
    entry = find_data_set(name)
    counts = "\n".join(f"  {what:<16}{number:>12,}" for what, number in entry.counts.items())
    return (
        f"{entry.title}\n\ntask:    {entry.task}\nsource:  {entry.source}\nlicence: {entry.licence}\n\n"
        f"layout:\n{entry.layout}\n\ncounts:\n{counts}"
    )


def _size(counts: Mapping[str, int]) -> str:
    """Pairs, or images of each role."""
    if "pairs" in counts:
        return f"{counts['pairs']:,} pairs"
    return " / ".join(f"{number:,}" for what, number in counts.items() if what.endswith("images"))
