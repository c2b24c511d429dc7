"""The losses as Markdown, from their definitions: one table, and a section each with formula, numbers and settings."""

import inspect
import re

import circlet
from circlet.losses import PairLoss, all_losses
from circlet.losses.table import markdown, row
from docs.hooks.docstrings import as_markdown


def losses_page() -> str:
    """The table, then every loss."""
    found = list(all_losses().values())
    return f"{markdown(found)}\n\n## One by one\n\n" + "\n".join(_section(loss) for loss in found)


def _section(loss: type[PairLoss]) -> str:
    what = row(loss)
    lines = [
        f"### {loss.__name__}\n",
        as_markdown(_without_example(inspect.getdoc(loss) or "")),
        "",
        f"- **made of**: {what.similarity}; rule {what.rule}; {what.statistics}; {what.aggregate}",
        f"- **usually compared with**: {what.level}; computed {what.computed}",
        f"- **by name**: {_names(loss)}",
    ]
    if loss.declared:
        lines += ["", "| number | default | may be | what it is |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{name}` | {each.default:g} | {each.expected()} | {each.text} |" for name, each in loss.declared.items()
        ]
    for level, (numbers, source) in loss.paper_settings.items():
        stated = ", ".join(f"{name} {value:g}" for name, value in numbers.items()) or "its defaults"
        lines += ["", f"Compared at level `{level}` it starts from {stated}: {source}."]
    return "\n".join(lines) + "\n"


def _without_example(text: str) -> str:
    return "\n\n".join(part for part in re.split(r"\n\s*\n", text) if not part.startswith(">>>"))


def _names(loss: type[PairLoss]) -> str:
    """On the command line, and as a function unless the loss keeps something from call to call."""
    function = f"{loss.name}_loss"
    found = f"`--loss.name {loss.name}`"
    return f"{found}, `circlet.functional.{function}`" if function in dir(circlet.functional) else found
