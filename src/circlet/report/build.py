"""The report of a run: one self-contained HTML page that opens from disk, offline, on any screen.

Everything that comes from data (class names, paths, settings) is escaped; charts, pictures and scripts are inside the
page. Sections whose data are missing (no telemetry, no trace, one class) are left out. The time it takes does not grow
without end: beyond circlet.report.survey.MAX_PAIRS pairs a stated random sample of the queries is looked at.
"""

import html
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from circlet.report.charts import Axis, Line, line_chart, power
from circlet.report.curves import histogram, recall_curve, roc, tar_at
from circlet.report.data import ReportData
from circlet.report.embedding_map import map_section
from circlet.report.examples import NUM_QUERIES, confusion_rows, confusions, query_rows, ranked
from circlet.report.pictures import Album
from circlet.report.plane import plane_section
from circlet.report.shell import page
from circlet.report.survey import Survey, survey
from circlet.report.training_charts import telemetry_charts, training_charts

NAMES = {"r_precision": "R-Precision", "map@r": "MAP@R", "mrr": "MRR"}
FARS = range(-6, 0)  # exponents of ten


def build_report(run: ReportData) -> str:
    """The page as text.

    >>> import torch
    >>> from circlet.data import glyphs
    >>> from circlet.report import Embedded, ReportData
    >>> images = glyphs().query.subset(range(6))
    >>> run = ReportData("glyphs", {"embedding": {"recall@1": 1.0}}, images, Embedded(torch.eye(6), None))
    >>> build_report(run).startswith("<!doctype html>")
    True
    """
    run = run.without_junk()
    query_labels, gallery_labels = run.labels()
    query = run.embedded.query.detach().cpu()
    gallery = None if run.embedded.gallery is None else run.embedded.gallery.detach().cpu()
    found = survey(query, gallery, query_labels, gallery_labels)
    data: dict[str, Any] = {}
    sections = [_head(run), _similarities(run, found)]
    if charts := training_charts(run.log):
        sections.append(_section("Training", _grid(charts)))
    if charts := telemetry_charts(run.log):
        words = (
            "<p>What the pairs of the training batches looked like to the loss, at each logged step. "
            f"{html.escape(run.sampled)}</p>"
        )
        sections.append(_section("Pairs during training", words + _grid(charts)))
    if run.loss is not None and any(len(frame.s_n) for frame in run.trace):
        plane = plane_section(run.trace, run.loss)
        data["plane"] = plane.data
        words = (
            "<p>Each point is an anchor of a training batch: its most similar negative and its least similar positive, "
            "at a logged step. Training moves them to the upper left, past the decision boundary.</p>"
        )
        sections.append(_section("The plane of similarities", words + plane.html))
    if (drawn := map_section(run.query, query)) is not None:
        data["map"] = drawn.data
        sections.append(_section("Map of the embedding", drawn.html))
    sections.append(_examples(run, found))
    for heading, content in run.details.items():
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        sections.append(f"<details><summary>{html.escape(heading)}</summary><pre>{html.escape(text)}</pre></details>")
    return page(run.title, f"<main>{''.join(sections)}</main>", data)


def _head(run: ReportData) -> str:
    images = f"{len(run.query):,} queries"
    if run.gallery is not None:
        images += f" in a gallery of {len(run.gallery):,} images"
    return (
        f"<header><h1>{html.escape(run.title)}</h1><p>Tested on {run.query.num_classes:,} classes that were not in the "
        f"training set, {images}.</p></header>{_table(run.metrics)}"
    )


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Metrics down, rows of the data across: narrow enough for a phone."""
    metrics = dict.fromkeys(name for row in rows.values() for name in row)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in rows)
    body = "".join(
        f'<tr><th scope="row">{html.escape(NAMES.get(metric, metric.replace("recall", "Recall")))}</th>'
        + "".join(f"<td>{_number(row.get(metric, math.nan))}</td>" for row in rows.values())
        + "</tr>"
        for metric in metrics
    )
    return f'<table class="metrics"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'


def _only_of(run: ReportData, found: Survey) -> str:
    """A sentence that says so where not all queries were looked at."""
    if len(found.queries) == len(run.query):
        return ""
    return f" Of {len(found.queries):,} random queries among the {len(run.query):,}."


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _similarities(run: ReportData, found: Survey) -> str:
    num_within, num_between = int(found.within.sum()), int(found.between.sum())
    whole = len(found.queries) == len(run.query)
    which = "All pairs" if whole else f"Pairs of {len(found.queries):,} random queries with all images they search"
    words = (
        f"<p>{which} of the test set, by cosine similarity: {num_within:,} within a class, {num_between:,} between "
        "two.</p>"
    )
    if run.reid:
        words += "<p>Here and below pairs of one camera count; the metrics above pass over those within a class.</p>"
    shares = histogram(found.within, found.between)
    seen = (shares.within > 0) | (shares.between > 0)
    low = float(shares.similarity[seen].min()) - 0.02
    x = shares.similarity.tolist()
    charts = [
        line_chart(
            "Similarities of the test pairs",
            [Line("within a class", x, shares.within.tolist()), Line("between classes", x, shares.between.tolist())],
            Axis("similarity", low=low, high=1.0),
            Axis("% of the pairs, in steps of 0.02", low=0.0),
            filled=True,
        )
    ]
    recall = recall_curve(found.hits)
    places = np.unique(np.geomspace(1, len(recall), 60).round().astype(int))
    charts.append(
        line_chart(
            "Recall@K" if whole else f"Recall@K of {len(found.queries):,} random queries",
            [Line("Recall@K", places.tolist(), recall[places - 1].tolist())],
            Axis("K", log=len(recall) > 1, low=1.0),
            Axis("share of queries with a hit among the first K", high=1.0),
        )
    )
    curve = roc(found.within, found.between)
    table = ""
    if curve is not None:
        fars = np.geomspace(1 / num_between, 1, 200)
        tars = [tar_at(curve, far) for far in fars]
        charts.append(
            line_chart(
                "Verification: is a pair of one class?",
                [Line("TAR", fars.tolist(), tars)],
                Axis("false accept rate (FAR)", log=True, high=1.0),
                Axis("true accept rate (TAR)", low=0.0, high=1.0),
            )
        )
        cells = "".join(
            f'<tr><th scope="row">{power(exponent)}</th><td>{_number(tar_at(curve, 10.0**exponent))}</td></tr>'
            for exponent in FARS
            if num_between >= 10 ** (1 - exponent)
        )
        table = (
            '<figure class="chart"><figcaption>TAR at FAR</figcaption><table><thead><tr><th scope="col">FAR</th>'
            f'<th scope="col">TAR</th></tr></thead><tbody>{cells}</tbody></table></figure>'
        )
    return _section("Similarities of the test set", words + _grid([*charts, table]))


def _examples(run: ReportData, found: Survey) -> str:
    query_labels, gallery_labels = run.labels()
    album = Album()
    parts = []
    for heading, words, best in (
        ("Worst queries", "whose nearest image is of another class, by the widest margin", False),
        ("Best queries", "whose nearest images are right, by the widest margin", True),
    ):
        places = ranked(found, query_labels, best=best)
        if places:
            text = (
                f"<p>Up to {NUM_QUERIES} queries, one of a class, {words}; then their neighbours with the similarity: "
                f"✓ of the same class, ✗ (dashed) of another.{_only_of(run, found)}</p>"
            )
            parts.append(_section(heading, text + query_rows(run, found, places, album)))
    if listed := confusions(found, query_labels, gallery_labels):
        words = (
            "<p>Pairs of classes with the most queries whose nearest image is of the other class."
            f"{_only_of(run, found)}</p>"
        )
        parts.append(_section("Hardest confusions", words + confusion_rows(run, found, listed, album)))
    return "".join(parts)


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{content}</section>"


def _grid(charts: list[str]) -> str:
    return f'<div class="charts">{"".join(charts)}</div>'
