"""The model card: README.md in the form of the Hugging Face Hub, from what the run folder says (text in templates).

Names of others (of the run, of a data set) are escaped: neither HTML nor Markdown in them is obeyed. Names of classes
are not in it, since they may be those of people, and no path of this machine is. What is not known says so.
"""

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import circlet
from circlet.data.catalogue import DATA_SETS
from circlet.experiments import Experiment, open_run
from circlet.export.licences import data_licence, licence_of_weights
from circlet.export.snippet import preparation_code, preparation_words
from circlet.inference import Model
from circlet.terminal import printable

MARK = "<!-- written by circlet export; once you edit this file, it stays as you leave it -->"
TITLES = {"r_precision": "R-Precision", "map@r": "MAP@R", "mrr": "MRR", "fnir@1e-2": "FNIR@1e-2"}
_ROWS = {"test": "this model", "frozen": "network before training", "raw_pixels": "raw pixels"}
_OWN_IMAGES = {"folder": "a folder of images", "manifest": "a table of images",
               "shards": "shards of images", "vectors": "a file of vectors"}  # fmt: skip


class Facts(NamedTuple):
    """What a card is made of.

    experiment, result: of the run, settings and result.json; None for a network without one. licence: of the model, as
    its maker says; None: nothing said. files: names of the files beside the card. int8: what 8 bits cost, by metric.
    """

    model: Model
    experiment: Experiment | None = None
    result: Mapping[str, Any] | None = None
    licence: str | None = None
    files: tuple[str, ...] = ()
    int8: Mapping[str, float] | None = None


def facts_of(model: Model, **others: Any) -> Facts:
    """What is known of a model: of a run, all that its folder says. others: licence, files, int8."""
    if model.source is None or not model.source.is_dir():
        return Facts(model, **others)
    folder, experiment = open_run(model.source, needed=())
    result = folder.read_result() if (model.source / "result.json").exists() else None
    return Facts(model, experiment, result, **others)


def model_card(facts: Facts) -> str:
    """The text of README.md."""
    model, experiment, result = facts.model, facts.experiment, facts.result or {}
    onnx = [name for name in facts.files if name.endswith(".onnx")]
    metrics = [name for name, value in result.get("test", {}).items() if value == value]
    plain = {"licence": json.dumps(facts.licence or "unknown"), "tags": json.dumps(_tags(onnx)),
             "index": _model_index(facts, metrics)}  # fmt: skip
    text: str = _template().render(
        yaml={name: _Trusted(value) for name, value in plain.items()},
        mark=_Trusted(MARK),
        name=name_of(model),
        model=model,
        view=model.view,
        version=circlet.__version__,
        network=experiment.model.backbone if experiment else type(model.network.backbone).__name__,
        loss=experiment.loss.name if experiment else "",
        trained=experiment is not None,
        metrics=[title_of(metric) for metric in metrics],
        rows=_rows(result, metrics),
        intervals=result.get("intervals"),
        fnir="fnir@1e-2" in metrics,
        int8=[(title_of(name), f"{cost:+.4f}") for name, cost in (facts.int8 or {}).items()],
        thresholds=_sentences(model),
        source=data_title(experiment) if experiment else "",
        counts=_counted(result, "train"),
        tested=_counted(result, "test"),
        seen="some" if experiment and experiment.data.closed_set else "none",
        skipped=result.get("skipped_images"),
        licence=facts.licence if facts.licence != "unknown" else None,
        licences=_licences(facts),
        people=experiment is not None and experiment.task in ("face", "reid"),
        files=facts.files,
        onnx=onnx,
        words=preparation_words(model),
        code=_Trusted(preparation_code(model.decoding)),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def safe(value: object) -> str:
    r"""What others have named, for Markdown: on one line, no HTML, no markup.

    >>> print(safe("<b>*it*</b> [x](y)"))
    &lt;b&gt;\*it\*&lt;/b&gt; \[x\](y)
    """
    if isinstance(value, _Trusted):
        return str(value)
    return re.sub(
        r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^#|!(?=\[))", r"\\\1", html.escape(printable(str(value)), quote=False)
    )


def title_of(metric: str) -> str:
    """What a metric is called in a table.

    >>> title_of("recall@1"), title_of("map@r"), title_of("rank-1")
    ('Recall@1', 'MAP@R', 'rank-1')
    """
    return TITLES.get(metric) or re.sub(r"^(recall|precision)@", lambda found: f"{found[1].capitalize()}@", metric)


def name_of(model: Model) -> str:
    """What to call a model: its run folder, its file, or the network."""
    if model.source is None:
        return model.name
    return model.source.resolve().name if model.source.is_dir() else model.source.stem


def data_title(experiment: Experiment) -> str:
    """What to call the images of a run; no path of theirs."""
    source = experiment.data.source
    return (DATA_SETS[source].title or source) if source in DATA_SETS else _OWN_IMAGES.get(source, source)


class _Trusted(str):
    """Text of ours that is not escaped."""


def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=folder, trim_blocks=True, lstrip_blocks=True, finalize=safe,
                              undefined=StrictUndefined, autoescape=False)  # fmt: skip
    return environment.get_template("card.md")


def _tags(onnx: list[str]) -> list[str]:
    return ["metric-learning", "image-retrieval", "image-embeddings", *(["onnx"] if onnx else [])]


def _model_index(facts: Facts, metrics: list[str]) -> str:
    """As the hub reads it; JSON is YAML."""
    if facts.result is None or facts.experiment is None:
        return ""
    found = [{"type": re.sub(r"[^a-z0-9]+", "_", metric.lower()).strip("_"), "name": title_of(metric),
              "value": round(float(facts.result["test"][metric]), 6)} for metric in metrics]  # fmt: skip
    dataset = {"type": facts.experiment.data.source, "name": data_title(facts.experiment)}
    task = {"type": "image-feature-extraction", "name": "retrieval of classes that were not trained on"}
    results = [{"task": task, "dataset": dataset, "metrics": found}]
    return json.dumps([{"name": name_of(facts.model), "results": results}], allow_nan=False)


def _rows(result: Mapping[str, Any], metrics: list[str]) -> list[dict[str, Any]]:
    intervals = result.get("intervals") or {}
    rows = []
    for key, title in _ROWS.items():
        if key not in result:
            continue
        values = [result[key].get(metric, float("nan")) for metric in metrics]
        cells = [f"{value:.3f}" if value == value else "" for value in values]
        if key == "test":
            cells = [cell + _interval(intervals.get(metric)) for cell, metric in zip(cells, metrics, strict=True)]
        rows.append({"title": title, "cells": [_Trusted(cell) for cell in cells]})
    return rows


def _interval(found: Any) -> str:
    numbers = isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(x, float | int) for x in found)
    return f" [{found[0]:.3f}, {found[1]:.3f}]" if numbers and found[0] == found[0] else ""


def _sentences(model: Model) -> list[str]:
    chosen = model.thresholds
    return [] if chosen is None else [each.sentence for each in (*chosen.identify, *chosen.verify)]


def _licences(facts: Facts) -> list[dict[str, str]]:
    experiment, rows = facts.experiment, []
    if experiment is not None and not experiment.model.starts_from_weights:
        rows.append(
            {"title": "Weights it began with", "name": "none, it began from random ones", "of": "", "source": ""}
        )
    elif (weights := licence_of_weights(facts.model, experiment)) is not None:
        title = "Weights it began with" if experiment else "Weights"
        rows.append({"title": title, **weights._asdict()})
    if experiment is not None:
        rows.append({"title": "Images", **data_licence(experiment)._asdict()})
    return rows


def _counted(result: Mapping[str, Any], role: str) -> str:
    classes, images = result.get(f"{role}_classes"), result.get(f"{role}_images")
    return f"{images:,} images of {classes:,} classes" if classes and images else ""
