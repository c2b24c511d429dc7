"""Every code block of the pages: Python runs and prints what it says, commands are understood, messages are real."""

import ast
import doctest
import re

import pytest
import tyro

from circlet.cli import main
from docs.hooks.blocks import DOCS, blocks, commands, pages, sessions
from tests.docs.conftest import run

PAGES = [pytest.param(path, id=str(path.relative_to(DOCS))) for path in pages()]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WRONG = "## When it goes wrong"  # of the tutorial: what stands above was recorded


class Understood(Exception):
    """The arguments of a command were parsed."""


def of(path, *languages):
    return [block for block in blocks(path.read_text(encoding="utf-8")) if block.language in languages]


@pytest.mark.subprocess  # a run decodes its images in workers
@pytest.mark.parametrize("path", PAGES)
def test_python_runs_and_prints_what_it_says(path, in_folder):
    names = {}
    for block in of(path, "python", "pycon"):
        where = f"{path.name}, line {block.line}"
        if block.language == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, names, where, str(path), block.line)
            failures = []
            doctest.DocTestRunner(optionflags=FLAGS).run(test, out=failures.append, clear_globs=False)
            assert not failures, "".join(failures)
            names.update(test.globs)
            continue
        printed = []
        names["print"] = lambda *values, printed=printed: printed.append(" ".join(map(str, values)))
        exec(compile(ast.parse(block.text), where, "exec"), names)
        shown = iter(printed)
        for expected in re.findall(r"^\s*print\(.*\)  # (.*)$", block.text, flags=re.MULTILINE):
            assert expected in shown, f"{where}: {expected!r} was not printed: {printed}"


@pytest.mark.parametrize("path", PAGES)
def test_commands_are_understood(path, in_folder, monkeypatch):
    parse = tyro.cli

    def only_parse(*arguments, **settings):
        parse(*arguments, **settings)
        raise Understood

    monkeypatch.setattr(tyro, "cli", only_parse)
    for block in of(path, "sh"):
        for words in commands(block.text):
            if "--resume" in words or any(word.startswith("mypackage") for word in words):
                continue  # of a run, and of a package, that are not there
            with pytest.raises(Understood):
                main(words)


@pytest.mark.subprocess  # images are decoded in workers
@pytest.mark.parametrize("path", PAGES)
def test_messages_are_those_that_are_printed(path, in_folder):
    page = path.read_text(encoding="utf-8")
    recorded = page.index(WRONG) if "<!-- recorded:" in page else 0
    checker = doctest.OutputChecker()
    for block in blocks(page):
        if block.language != "console" or block.line < page.count("\n", 0, recorded):
            continue
        for session in sessions(block.text):
            (words,) = commands(session.command)
            found = run(*words).replace(str(in_folder), "/home/you")
            assert checker.check_output(session.output, found, FLAGS), f"$ {session.command}\n{found}"


def test_no_message_is_left_out():
    """`...` alone says nothing."""
    for path in pages():
        for block in of(path, "console", "pycon"):
            assert not re.search(r"^(circlet( \w+)?|\w+Error): \.\.\.$", block.text, flags=re.MULTILINE), path
