"""The pages of audit, dedupe and cluster: pictures side by side, one file each, of bounded size.

Long lists are cut, and say so: the CSV beside a page has them whole. Names and class names stay text, whatever is in
them (`circlet.pages`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from circlet.curate.audit import Audit
from circlet.curate.clusters import Agreement, Clusters
from circlet.curate.duplicates import Group
from circlet.curate.listing import summary
from circlet.data.images import DataError, ImageSet
from circlet.data.thumbnails import Album
from circlet.pages import page

SHOWN = 60  # rows of a list
_A_ROW = 6  # pictures of a row
_NAMES = 200  # classes or images that are listed by name alone
_STYLES = ("pages/palette.css", "curate/templates/curate.css")
_NO_PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


class Picture(NamedTuple):
    """kind: keep, copy, right or other; text: what stands below it."""

    kind: str
    source: str
    name: str
    class_name: str
    text: str


class ShownRow(NamedTuple):
    """A heading, how grave it is ("" or "grave"), and pictures; more: how many are not shown."""

    heading: str
    grade: str
    pictures: list[Picture]
    more: int = 0


def audit_page(found: Audit, title: str, table: str) -> str:
    """The page of an audit as text. table: the name of the CSV file beside it."""
    pictures = _Pictures(found.images)
    return page(
        "curate/templates/audit.html",
        f"Audit of {title}",
        styles=_STYLES,
        audit=found,
        title_text=title,
        table=table,
        summary=[line.partition(": ")[::2] for line in summary(found)],
        shown=SHOWN,
        named=_NAMES,
        class_names=found.images.class_names,
        leaks=[pictures.group(group, roles=found) for group in found.leaks[:SHOWN]],
        groups=[pictures.group(group) for group in _graver_first(found.groups)[:SHOWN]],
        labels=[
            pictures.row(
                f"Labelled {_named(found.images, one.label)}, looks like {_named(found.images, one.suggested)}",
                "grave" if one.likely else "",
                [(one.image, "keep", "this image"), *((n, "other", "") for n in one.neighbours)],
            )
            for one in found.labels.suspicious[:SHOWN]
        ],
        classes=[
            pictures.row(
                f"{_named(found.images, pair.first)} and {_named(found.images, pair.second)}: mixed "
                f"{pair.mixing.mean:.2f} ({pair.mixing.low:.2f} to {pair.mixing.high:.2f})",
                "",
                [
                    (index, kind, _named(found.images, label))
                    for both in pair.images[: _A_ROW // 2]
                    for index, kind, label in zip(both, ("keep", "other"), (pair.first, pair.second), strict=True)
                ],
            )
            for pair in found.look_alike[:SHOWN]
        ],
    )


def duplicates_page(images: ImageSet, groups: Sequence[Group], title: str, table: str) -> str:
    """The page of `circlet dedupe` as text."""
    pictures = _Pictures(images)
    return page(
        "curate/templates/duplicates.html",
        f"Duplicates in {title}",
        styles=_STYLES,
        title_text=title,
        table=table,
        images=len(images),
        number=len(groups),
        copies=sum(len(group.images) - 1 for group in groups),
        shown=SHOWN,
        groups=[pictures.group(group) for group in _graver_first(groups)[:SHOWN]],
    )


def clusters_page(images: ImageSet, found: Clusters, agreed: Agreement | None, title: str, table: str) -> str:
    """The page of `circlet cluster` as text; agreed: None where no classes are known."""
    pictures = _Pictures(images)
    rows = []
    for number in [*range(min(found.number, SHOWN)), -1]:
        members = found.members(number).tolist()
        if members:
            name = f"Cluster {number + 1}" if number >= 0 else "In no cluster"
            many = f"{len(members):,} image{'s' if len(members) > 1 else ''}"
            shown = [(i, "", _named(images, int(images.labels[i])) if agreed else "") for i in members]
            rows.append(pictures.row(f"{name}: {many}", "", shown, most=2 * _A_ROW))
    return page(
        "curate/templates/clusters.html",
        f"Clusters of {title}",
        styles=_STYLES,
        title_text=title,
        table=table,
        images=len(images),
        count=found.number,
        alone=int((found.cluster < 0).sum()),
        agreed=agreed,
        classes=images.num_classes,
        shown=SHOWN,
        rows=rows,
    )


class _Pictures:
    """Rows of pictures of one set."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self.album = images, Album()

    def group(self, group: Group, roles: Audit | None = None) -> ShownRow:
        """The one to keep first, then its copies."""
        what = "Equal files" if group.exact else "Near duplicates"
        heading = ", ".join([what, *["two labels"] * group.two_labels, *["on both sides of the split"] * group.leak])
        shown = []
        for place, (image, score) in enumerate(zip(group.images, group.scores, strict=True)):
            text = "keep" if place == 0 else f"copy, {score:.2f}"
            if roles is not None and roles.roles is not None:
                text = "train" if roles.roles[image] == 0 else "test"
            shown.append((image, "keep" if place == 0 else "other", text))
        return self.row(heading, "grave" if group.two_labels or group.leak else "", shown)

    def row(self, heading: str, grade: str, shown: Sequence[tuple[int, str, str]], *, most: int = _A_ROW) -> ShownRow:
        """Pictures by (image, kind, text)."""
        found = [self._picture(*one) for one in shown[:most]]
        return ShownRow(heading, grade, found, max(0, len(shown) - most))

    def _picture(self, index: int, kind: str, text: str) -> Picture:
        try:
            source = self.album.thumbnail(self.images, index)
        except DataError:  # it has gone, or was never readable
            source = _NO_PICTURE
        return Picture(
            kind, source, self.images.names[index], _named(self.images, int(self.images.labels[index])), text
        )


def _graver_first(groups: Sequence[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (not group.two_labels, not group.leak, group.exact))


def _named(images: ImageSet, label: int) -> str:
    return str(images.class_names[label])
