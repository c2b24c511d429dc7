"""The hook of mkdocs: adds what is made from the code, the examples, the notebooks and the results, page by page.

Pages ask for a part by a comment of its own: `<!-- losses -->` becomes the losses. Files of results
are taken from benchmarks/results as they are, so that no figure is typed twice; pages quote them by `--8<--`.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # mkdocs loads this file by its path

from mkdocs.structure.files import File, Files  # noqa: E402

from circlet.cli import VERBS  # noqa: E402
from circlet.report.explorer import build_explorer  # noqa: E402
from docs.hooks.commands import command_pages, path_of  # noqa: E402
from docs.hooks.examples import example_pages, examples  # noqa: E402
from docs.hooks.formulas import with_formulas  # noqa: E402
from docs.hooks.losses import losses_page  # noqa: E402
from docs.hooks.notebooks import notebook_page, notebooks  # noqa: E402
from docs.hooks.theme import named  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
# What pages show or link to: a name in the site, and the file of results.
SHOWN = {
    "results/photographs.png": "photographs.png",
    "results/bench.png": "losses/bench.png",
    "results/comparison-photographs.html": "comparison-photographs/comparison.html",
    "results/comparison-characters.html": "comparison/comparison.html",
}


def on_config(config: Any) -> Any:
    """The section of the commands has a page for every verb."""
    for section in config["nav"]:
        if "Commands" in section:
            section["Commands"] = ["commands/index.md", *({verb: path_of(verb)} for verb in VERBS)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Pages of the commands, the examples and the notebooks; the explorer, pages and pictures of results."""
    for path, text in {**command_pages(), **example_pages()}.items():
        files.append(File.generated(config, path, content=text))
    for example in examples():
        files.append(File.generated(config, f"examples/{example.name}", abs_src_path=str(example)))
    for notebook in notebooks():
        page = notebook_page(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page.markdown))
        for name, picture in page.pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    files.append(File.generated(config, "explorer.html", content=build_explorer()))
    for path, name in SHOWN.items():
        files.append(File.generated(config, path, abs_src_path=str(RESULTS / name)))
    return files


def on_page_markdown(markdown: str, **arguments: Any) -> str:
    """Equations drawn, parts put in."""
    if "<!-- losses -->" in markdown:
        markdown = markdown.replace("<!-- losses -->", losses_page())
    return with_formulas(markdown)


def on_post_page(output: str, **arguments: Any) -> str:
    """Names for screen readers."""
    return named(output)
