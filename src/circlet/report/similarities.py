"""The similarities of a test set as charts: histogram, Recall@K, ROC; and TAR at a few FARs."""

import numpy as np
from markupsafe import Markup

from circlet.report.charts import Axis, Line, line_chart, power
from circlet.report.curves import histogram, recall_curve, roc, tar_at
from circlet.report.survey import Survey

FARS = range(-6, 0)  # exponents of ten


def histogram_chart(found: Survey) -> Markup:
    """How many of the pairs within a class and between two have which similarity."""
    shares = histogram(found.within, found.between)
    seen = (shares.within > 0) | (shares.between > 0)
    low = float(shares.similarity[seen].min()) - 0.02
    x = shares.similarity.tolist()
    return line_chart(
        "Similarities of the test pairs",
        [Line("within a class", x, shares.within.tolist()), Line("between classes", x, shares.between.tolist())],
        Axis("similarity", low=low, high=1.0),
        Axis("% of the pairs, in steps of 0.02", low=0.0),
        filled=True,
    )


def recall_chart(found: Survey, *, all_queries: bool) -> Markup:
    """Recall@K for every K up to that of the survey."""
    recall = recall_curve(found.hits)
    places = np.unique(np.geomspace(1, len(recall), 60).round().astype(int))
    return line_chart(
        "Recall@K" if all_queries else f"Recall@K of {len(found.queries):,} random queries",
        [Line("Recall@K", places.tolist(), recall[places - 1].tolist())],
        Axis("K", log=len(recall) > 1, low=1.0),
        Axis("share of queries with a hit among the first K", high=1.0),
    )


def roc_chart(found: Survey) -> Markup:
    """True over false accept rate of all pairs; "" without pairs of either kind."""
    curve = roc(found.within, found.between)
    if curve is None:
        return Markup("")
    fars = np.geomspace(1 / int(found.between.sum()), 1, 200)
    return line_chart(
        "Verification: is a pair of one class?",
        [Line("TAR", fars.tolist(), [tar_at(curve, far) for far in fars])],
        Axis("false accept rate (FAR)", log=True, high=1.0),
        Axis("true accept rate (TAR)", low=0.0, high=1.0),
    )


def tar_rows(found: Survey) -> list[tuple[str, float]] | None:
    """(FAR, TAR) for each FAR that at least ten pairs between classes make up; None without pairs of either kind."""
    curve = roc(found.within, found.between)
    if curve is None:
        return None
    num_between = int(found.between.sum())
    return [(power(far), tar_at(curve, 10.0**far)) for far in FARS if num_between >= 10 ** (1 - far)]
