"""A page for each verb of the command line: what it does, and its --help as it is printed."""

import contextlib
import io
import os
from importlib import import_module

from circlet.cli import VERBS

WIDTH = 100  # characters of a line of help
# What a verb does next, of which --help has more to say.
FURTHER: dict[str, tuple[tuple[str, ...], ...]] = {
    "train": (("folder",),),
    "figure": (("2",), ("3",), ("4",), ("explorer",)),
    "datasets": (("list",), ("check",)),
    "recipes": (("losses",),),
}


def command_pages() -> dict[str, str]:
    """Markdown of each page, by its path in the site."""
    return {"commands/index.md": _overview(), **{path_of(verb): _page(verb) for verb in VERBS}}


def path_of(verb: str) -> str:
    """Where the page of a verb is; a verb is called index, so that its name alone would be the overview's.

    >>> path_of("index")
    'commands/circlet-index.md'
    """
    return f"commands/circlet-{verb}.md"


def help_of(verb: str, *words: str) -> str:
    """What `circlet VERB WORDS --help` prints."""
    out, before = io.StringIO(), {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR", "TERM")}
    os.environ.update(COLUMNS=str(WIDTH), NO_COLOR="1", TERM="dumb")
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            import_module(f"circlet.cli.{verb}").main([*words, "--help"])
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip()


def _overview() -> str:
    rows = "".join(f"| [`circlet {verb}`](circlet-{verb}.md) | {text} |\n" for verb, text in VERBS.items())
    return (
        "# Commands\n\nEvery verb has `--help` with examples; these pages are made from it. Errors are one line, and "
        "`CIRCLET_TRACEBACK=1` shows where one came from.\n\n| command | what it does |\n| --- | --- |\n" + rows
    )


def _page(verb: str) -> str:
    text = VERBS[verb]
    parts = [f"# circlet {verb}\n\n{text[0].upper()}{text[1:]}.\n", _shown(verb)]
    for words in FURTHER.get(verb, ()):
        parts.append(f"## circlet {verb} {' '.join(words)}\n\n{_shown(verb, *words)}")
    return "\n".join(parts)


def _shown(verb: str, *words: str) -> str:
    return f"```text\n$ circlet {' '.join((verb, *words))} --help\n{help_of(verb, *words)}\n```\n"
