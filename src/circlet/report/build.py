"""The report of a run: one self-contained HTML page that opens from disk, offline, on any screen.

This module gathers what the page shows; templates/report.html says how, section by section, and has the words. Sections
whose data are missing (no telemetry, no trace, one class) are left out. The time it takes does not grow without end:
beyond circlet.report.survey.MAX_PAIRS pairs a stated random sample of the queries is looked at.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from circlet.data.thumbnails import Album
from circlet.experiments.outcome import start_name
from circlet.pages import page
from circlet.report.data import ReportData
from circlet.report.embedding_map import map_section
from circlet.report.examples import NUM_QUERIES, confusion_rows, confusions, query_rows, ranked
from circlet.report.open_set import det_chart, interval_text, open_set_section
from circlet.report.plane import plane_section
from circlet.report.similarities import histogram_chart, recall_chart, roc_chart, tar_rows
from circlet.report.survey import Survey, survey
from circlet.report.suspicious import suspicious_section
from circlet.report.training_charts import telemetry_charts, training_charts

NAMES = {"r_precision": "R-Precision", "map@r": "MAP@R", "mrr": "MRR", "fnir@1e-2": "FNIR at FPIR 1e-2"}
STYLES = ("pages/palette.css", "report/templates/report.css")
SCRIPTS = ("report/templates/plane.js", "report/templates/map.js")


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
    traced = any(len(frame.s_n) for frame in run.trace)
    plane = plane_section(run.trace, run.loss) if run.loss is not None and traced else None
    drawn = map_section(run.query, query)
    scripted = {"plane": plane, "map": drawn}
    return page(
        "report/templates/report.html",
        run.title,
        styles=STYLES,
        scripts=SCRIPTS,
        data={name: section.data for name, section in scripted.items() if section is not None},
        run=run,
        metrics=metric_rows(run.metrics),
        intervals=[interval_text(run.intervals.get(name)) for name in _names(run.metrics)] if run.intervals else None,
        open_set=open_set_section(run.open_set),
        stages=_stages(run),
        suspicious=suspicious_section(run),
        training=training_charts(run.log),
        telemetry=telemetry_charts(run.log),
        plane=plane,
        map=drawn,
        details={name: _json(content) for name, content in run.details.items()},
        **_similarities(run, found),
        **_examples(run, found),
    )


def metric_rows(rows: Mapping[str, Mapping[str, float]]) -> list[tuple[str, list[str]]]:
    """Metrics down, rows of the data across: narrow enough for a phone.

    >>> metric_rows({"raw pixels": {"recall@1": 0.5}, "embedding": {"recall@1": 1.0, "map@r": 0.25}})
    [('Recall@1', ['0.500', '1.000']), ('MAP@R', ['–', '0.250'])]
    """
    return [
        (
            NAMES.get(metric, metric.replace("recall", "Recall").replace("precision", "Precision")),
            [_number(row.get(metric, math.nan)) for row in rows.values()],
        )
        for metric in _names(rows)
    ]


def _names(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows.values() for name in row))


def _stages(run: ReportData) -> dict[str, Any] | None:
    """What stages.json holds, as a table; None where nothing could be judged."""
    content = run.stages
    if content is None or content["frozen"] is None:
        return None
    starts = [start_name(of_vectors=of_vectors) for of_vectors in (False, True)]
    start = next((name for name in run.metrics if name in starts), starts[0])
    rows = [_stage_row(start, content["frozen"], "", "")]
    for stage in content["stages"]:
        mean, low, high = stage["difference"]["map@r"]
        difference = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        kept = "kept" if stage["kept"] else "left out"
        rows.append(_stage_row(stage["stage"], stage["validation"], difference, kept))
    has_network = any(stage["stage"] == "network" for stage in content["stages"])
    return {"sentence": content["sentence"], "rows": rows, "has_network": has_network}


def _stage_row(name: str, validation: Mapping[str, float], difference: str, kept: str) -> dict[str, str]:
    found = {"map_at_r": _number(validation["map@r"]), "recall": _number(validation["recall@1"])}
    return {"name": name, **found, "difference": difference, "kept": kept}


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def _similarities(run: ReportData, found: Survey) -> dict[str, Any]:
    all_queries = len(found.queries) == len(run.query)
    rates = tar_rows(found)
    return {
        "num_queries": len(found.queries),
        "all_queries": all_queries,
        "num_within": int(found.within.sum()),
        "num_between": int(found.between.sum()),
        "similarities": [
            histogram_chart(found),
            recall_chart(found, all_queries=all_queries),
            roc_chart(found),
            det_chart(run.open_set),
        ],
        "rates": None if rates is None else [(far, _number(tar)) for far, tar in rates],
    }


def _examples(run: ReportData, found: Survey) -> dict[str, Any]:
    query_labels, gallery_labels = run.labels()
    album = Album()
    worst, best = (ranked(found, query_labels, best=kind) for kind in (False, True))
    listed = confusions(found, query_labels, gallery_labels)
    return {
        "most_queries": NUM_QUERIES,
        "worst": query_rows(run, found, worst, album),
        "best": query_rows(run, found, best, album),
        "confusions": confusion_rows(run, found, listed, album),
    }
