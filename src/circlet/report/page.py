"""The report of a run: one self-contained HTML page that opens from disk, offline, on any screen.

Everything that comes from data (class names, paths, settings) is escaped; pictures are inside the page.
"""

import base64
import html
import io
import json
from collections.abc import Mapping
from typing import Any

from PIL.Image import Image
from torch import Tensor

from circlet.data import ImageSet
from circlet.report.neighbours import contact_sheet

STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; }
img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
pre { overflow-x: auto; padding: 1rem; border: 1px solid var(--line); border-radius: 4px; font-size: .85rem; }
"""


def build_page(
    title: str,
    metrics: Mapping[str, Mapping[str, float]],
    log: list[dict[str, Any]],
    query: ImageSet,
    gallery: ImageSet | None,
    embedded: tuple[Tensor, Tensor | None],
    details: Mapping[str, Any],
) -> str:
    """The page as text.

    metrics: rows of the headline table by name. log: lines of metrics.jsonl. embedded: query and gallery embeddings.
    details: what is printed as JSON at the end, by heading.
    """
    sheet = contact_sheet(query, gallery, embedded)
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>Tested on {query.num_classes} classes that were not in the training set, {len(query)} queries.</p>",
        _table(metrics),
        "<h2>Nearest neighbours</h2>",
        "<p>Random queries (grey) with their nearest neighbours: green is the same class; pink and crossed is another."
        "</p>",
        _image(sheet, "Queries and their nearest neighbours"),
    ]
    if len(log) > 1:
        sections += ["<h2>Training</h2>", _image(_curves(log), "Loss and validation metrics over the steps")]
    for heading, content in details.items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        sections += [f"<h2>{html.escape(heading)}</h2>", f"<pre>{html.escape(text)}</pre>"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *columns))
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>" + "".join(f"<td>{row.get(c, float('nan')):.3f}</td>" for c in columns)
        for name, row in rows.items()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _curves(log: list[dict[str, Any]]) -> Image:
    import matplotlib.figure
    from PIL import Image as images

    validated = [line for line in log if any(name.startswith("validation_") for name in line)]
    steps = [line for line in log if "loss" in line]
    figure = matplotlib.figure.Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    axes[0].plot([line["step"] for line in steps], [line["loss"] for line in steps])
    axes[0].set(xlabel="step", ylabel="loss", yscale="log")
    for name in [name for name in validated[0] if name.startswith("validation_")] if validated else []:
        label = name.removeprefix("validation_")
        axes[1].plot([line["step"] for line in validated], [line[name] for line in validated], marker=".", label=label)
    if validated:
        axes[1].set(xlabel="step", ylabel="validation classes")
        axes[1].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return images.open(buffer)


def _image(image: Image, alt: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
