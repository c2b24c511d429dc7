"""The section on suspicious labels and duplicates: what the run found in its images before the training.

Test images are shown as pictures, training images by name: a report knows no more of them.
"""

from typing import Any, NamedTuple

from markupsafe import Markup

from circlet.data import DataError, ImageSet
from circlet.data.thumbnails import Album
from circlet.experiments.outcome import start_name
from circlet.pages import part
from circlet.report.data import ReportData

SHOWN = 12


class _Row(NamedTuple):
    picture: str
    image: str
    label: str
    suggested: str
    likely: bool


def suspicious_section(run: ReportData) -> Markup | None:
    """The section; None of a run that did not look."""
    found = run.audit
    if found is None:
        return None
    album = Album()
    places = {name: (images, index) for images in (run.query, run.gallery) if images is not None
              for index, name in enumerate(images.names)}  # fmt: skip
    rows = [
        _Row(_picture(album, places.get(one["image"])), one["image"], one["label"], one["suggested"], one["likely"])
        for one in found["suspicious"][:SHOWN]
    ]
    return part(
        "report/templates/suspicious.html",
        of_vectors=start_name(of_vectors=True) in run.metrics,
        likely=found["likely"],
        judged=found["judged"],
        rows=rows,
        num_suspicious=len(found["suspicious"]),
        leaks=[_leak(one) for one in found["leaks"][:SHOWN]],
        look_alike=found["look_alike"][:SHOWN],
    )


def _leak(found: dict[str, Any]) -> dict[str, Any]:
    names = {role: name for role, name in found.items() if role != "similarity"}
    return {"names": names, "similarity": float(found.get("similarity", 0.0))}


def _picture(album: Album, place: tuple[ImageSet, int] | None) -> str:
    if place is None:
        return ""
    try:
        return album.thumbnail(*place)
    except DataError:
        return ""
