"""What the site makes from the code is whole: pages of verbs and examples, sections of losses, figures of results."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from circlet.cli import VERBS
from circlet.losses import all_losses
from circlet.report.build import SCRIPTS, STYLES
from docs.hooks.blocks import DOCS, blocks, pages
from docs.hooks.commands import FURTHER, command_pages, help_of, path_of
from docs.hooks.examples import example_pages, examples, title_of
from docs.hooks.formulas import with_formulas
from docs.hooks.losses import losses_page
from docs.hooks.notebooks import notebook_page, notebooks
from docs.hooks.sample import SAMPLE

ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def commands():
    return command_pages()


def test_every_verb_has_a_page(commands):
    assert set(commands) == {"commands/index.md", *map(path_of, VERBS)}
    assert len(commands) == len(VERBS) + 1
    for verb in VERBS:
        page = commands[path_of(verb)]
        assert f"usage: circlet {verb}" in page
        assert "\x1b" not in page
        assert f"[`circlet {verb}`](circlet-{verb}.md)" in commands["commands/index.md"]
    assert set(FURTHER) <= set(VERBS)


def test_help_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    help_of("verify")
    import os

    assert os.environ["COLUMNS"] == "77"


def test_every_loss_has_a_section():
    page = losses_page()
    for name, loss in all_losses().items():
        assert f"### {loss.__name__}\n" in page
        assert f"`--loss.name {name}`" in page
        for number in loss.declared:
            assert f"| `{number}` |" in page


def test_every_example_has_a_page_with_the_file_itself():
    made = example_pages()
    assert set(made) == {*(f"examples/{path.stem}.md" for path in examples()), "examples/cluster.md"}
    for path in examples():
        page = made[f"examples/{path.stem}.md"]
        assert path.read_text(encoding="utf-8") in page
        assert re.search(rf"^```sh\n[^\n]*examples/{path.name}", page, flags=re.MULTILINE)
    assert "torchrun" in made["examples/cluster.md"]
    assert title_of("Looking at results elsewhere (a spreadsheet): out as CSV.") == "Looking at results elsewhere"


def test_every_example_is_linked_where_its_users_look():
    overview = DOCS / "examples" / "index.md"
    linked = {path: set(re.findall(r"examples/(\w+)\.md", path.read_text(encoding="utf-8"))) for path in pages()}
    listed = set(re.findall(r"\]\((\w+)\.md\)", overview.read_text(encoding="utf-8")))
    elsewhere = set().union(*(found for path, found in linked.items() if path != overview))
    for name in [*(path.stem for path in examples()), "cluster"]:
        assert name in listed, f"{name} is not in the overview"
        assert name in elsewhere, f"no page but the overview links to {name}"


def test_every_equation_can_be_drawn():
    texts = {path: path.read_text(encoding="utf-8") for path in pages()}
    texts |= {path: notebook_page(path).markdown for path in notebooks()}
    for path, page in texts.items():
        if any(block.language == "math" for block in blocks(page)):
            drawn = with_formulas(page)
            assert "```math" not in drawn
            ids = re.findall(r' id="([^"]+)"', drawn)
            assert len(ids) == len(set(ids)), path
    with pytest.raises(ValueError, match=r"equation '\\\\frc': "):
        with_formulas("```math\n\\frc\n```\n")


def test_the_sample_report_looks_as_reports_do():
    page = SAMPLE.read_text(encoding="utf-8")
    for name in (*STYLES, *SCRIPTS):
        source = (files("circlet") / name).read_text(encoding="utf-8")
        assert source in page, f"{name} has changed: python -m docs.hooks.sample"
    assert SAMPLE.stat().st_size < 2e6


def test_what_pages_quote_is_there():
    for path in pages():
        for name in re.findall(r'--8<-- "([^"]+)"', path.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file(), f"{path.name} quotes {name}"


def test_figures_in_the_text_are_those_of_results():
    """A measured figure has three decimals or more; each stands in some file of results."""
    results = "".join(path.read_text(encoding="utf-8") for path in sorted(RESULTS.rglob("*.md")))
    for path in pages():
        text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for figure in re.findall(r"(?<![\d.`=])\d\.\d{3,}\b", re.sub(r"`[^`]*`", "", text)):
            assert figure in results, f"{path.name}: {figure} is in no file of benchmarks/results"


def test_every_page_can_be_found():
    def paths(entry):
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for value in entry.values():
                yield from paths(value)
        else:
            for each in entry:
                yield from paths(each)

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    generated = {"commands/index.md", *example_pages(), *(f"notebooks/{path.stem}.md" for path in notebooks())}
    assert set(paths(nav)) == generated | {str(path.relative_to(DOCS)) for path in pages()}


def test_pages_say_what_to_do_when_it_goes_wrong():
    without = {"index.md", "cite.md", "faq.md", "audit.md", "scale.md", "licences.md", "versions.md"}
    for path in pages():
        if path.parent == DOCS and path.name not in without:
            assert re.search(r"^##? When it goes wrong", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_licence_of_what_is_quoted():
    """No photograph of the data set is in the site: its pictures are drawn, or of characters."""
    assert {path.name for path in Path(DOCS).rglob("*.png")} == {"figure-2.png", "neighbours.png"}
