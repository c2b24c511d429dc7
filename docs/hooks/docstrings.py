"""The project's docstrings as Markdown, for mkdocstrings: examples become code, lists of arguments become lists.

A docstring here has a summary, an example behind it, equations indented by four, and paragraphs of `name: what it is`;
as Markdown alone the example would be a quotation and the arguments one paragraph.
"""

import re
from typing import Any

import griffe

_ARGUMENT = re.compile(r"^((?:[a-z_]\w*)(?:, [a-z_]\w*)*): ")
_WORD = re.compile(r"^(Raises \w+(?:, \w+)*|Sources?|Defaults|Precision|Degenerate input|Extra memory|Gives): ")


def as_markdown(text: str) -> str:
    """A docstring as Markdown.

    >>> print(as_markdown("Sum.\\n\\n>>> 1 + 1\\n2\\n\\nfirst: a number.\\nsecond: another,\\n    or none."))
    Sum.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    - `first`: a number.
    - `second`: another,
      or none.
    """
    return "\n\n".join(_paragraph(part) for part in re.split(r"\n\s*\n", text.strip()))


def _paragraph(text: str) -> str:
    if text.startswith(">>>"):
        return f"```pycon\n{text}\n```"
    if text.startswith(("    ", "|")):
        return text
    lines = text.splitlines()
    if not _ARGUMENT.match(lines[0]):
        return _WORD.sub(r"**\1:** ", text).replace("<", "&lt;")
    found = []
    for line in lines:
        if match := _ARGUMENT.match(line):
            found.append(f"- `{match.group(1)}`: {line[match.end() :]}")
        else:
            found.append(f"  {line.strip()}")
    return "\n".join(found).replace("<", "&lt;")


class ProjectDocstrings(griffe.Extension):
    """Rewrites each docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **arguments: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
