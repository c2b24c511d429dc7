"""What an audit found, as rows to act on, as JSON, and as a few sentences."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from circlet.curate.audit import ROLES, Audit
from circlet.curate.classes import FEW
from circlet.curate.duplicates import Group, num_copies
from circlet.curate.spreadsheet import csv_text
from circlet.data.images import ImageSet
from circlet.data.notes import cut
from circlet.terminal import printable


class Row(NamedTuple):
    """One line of audit.csv; other and score are empty where there is none."""

    kind: str
    image: str
    other: str
    score: str
    suggestion: str


def duplicate_rows(images: ImageSet, groups: Sequence[Group]) -> list[Row]:
    """A row for each image that could go: it, the one to keep, and why.

    Where both sides of a split, or two classes, are concerned, what to do is not said by the sizes alone.
    """
    rows = []
    for group in groups:
        kept = group.images[0]
        for image, score in zip(group.images[1:], group.scores[1:], strict=True):
            kind = "equal files" if group.exact else "near duplicate"
            advice = "remove, keep the other"
            if group.two_labels and images.labels[image] != images.labels[kept]:
                kind, advice = f"{kind}, two labels", f"decide on one label: {_class(images, image)} or "
                advice += f"{_class(images, kept)}"
            if group.leak:
                kind, advice = f"{kind}, leak", f"{advice}; on both sides of the split"
            rows.append(Row(kind, images.names[image], images.names[kept], f"{score:.3f}", advice))
    return rows


def audit_rows(found: Audit) -> list[Row]:
    """Every finding, the gravest kind first."""
    images = found.images
    rows = sorted(duplicate_rows(images, found.groups), key=lambda row: "leak" not in row.kind)
    for one in found.labels.suspicious:
        other = images.names[one.neighbours[0]] if one.neighbours else ""
        verb = "probably" if one.likely else "perhaps"
        rows.append(Row("suspicious label", images.names[one.image], other, f"{one.score:.3f}",
                        f"{verb} {images.class_names[one.suggested]}, not {_class(images, one.image)}"))  # fmt: skip
    for pair in found.look_alike:
        first, second = (images.class_names[label] for label in (pair.first, pair.second))
        name, other = (images.names[index] for index in pair.images[0])
        rows.append(Row("classes look like one", name, other, f"{pair.mixing.mean:.3f}",
                        f"merge or check {first} and {second}"))  # fmt: skip
    for few in found.few:
        name = next(n for n, label in zip(images.names, images.labels, strict=True) if label == few.label)
        many = "1 image" if few.images == 1 else f"{few.images} images"
        rows.append(Row("few images", name, "", str(few.images), f"{images.class_names[few.label]} has {many}"))
    rows += [Row("unreadable", name, "", "", f"repair or remove: {reason}") for name, reason in found.broken]
    return rows


def table_of(rows: Sequence[Row]) -> str:
    """The rows as CSV with a heading (`circlet.curate.spreadsheet`)."""
    return csv_text(("kind", "image", "other image", "score", "suggestion"), rows, paths=("image", "other image"))


def audit_json(found: Audit) -> dict[str, Any]:
    """Plain JSON values, images and classes by name."""
    images = found.images

    def group(one: Group) -> dict[str, Any]:
        own = {"images": [images.names[i] for i in one.images], "scores": list(one.scores), "exact": one.exact}
        return {**own, "leak": one.leak, "two_labels": one.two_labels}

    return {
        "images": len(images),
        "classes": images.num_classes,
        "duplicates": [group(one) for one in found.groups],
        "labels": {
            "judged": found.labels.judged,
            "contradicted_weakly": found.labels.contradicted,
            "suspicious": [one.to_json(images) for one in found.labels.suspicious],
        },
        "look_alike": [
            {
                "classes": [images.class_names[pair.first], images.class_names[pair.second]],
                "mixing": round(pair.mixing.mean, 4),
                "interval": [round(pair.mixing.low, 4), round(pair.mixing.high, 4)],
            }
            for pair in found.look_alike
        ],
        "few_images": {images.class_names[one.label]: one.images for one in found.few},
        "unreadable": dict(found.broken),
    }


def summary(found: Audit) -> list[str]:
    """A line for each kind of finding, also for what was looked for and not found; safe for a terminal."""
    images, groups, labels = found.images, found.groups, found.labels
    copies = [num_copies(groups, exact=exact) for exact in (True, False)]
    lines = [
        f"equal files: {copies[0]:,} could go",
        f"near duplicates: {copies[1]:,} could go" + _such_as(images, [g for g in groups if not g.exact]),
    ]
    if found.roles is None:
        lines.append("leaks between train and test: not looked for, there is no split (--run RUN knows one)")
    else:
        sides = ", ".join(f"{int((found.roles == n).sum()):,} {role}" for n, role in enumerate(ROLES)
                          if (found.roles == n).any())  # fmt: skip
        lines.append(f"leaks between train and test ({sides}): {len(found.leaks):,} pictures on both sides"
                     + _such_as(images, found.leaks))  # fmt: skip
    if not found.labelled:
        return [*lines, "labels: not judged, all images are of one class", *_unreadable(found)]
    others = len(labels.suspicious) - labels.likely
    lines.append(
        f"labels: {labels.likely:,} of {labels.judged:,} probably wrong, {others:,} more to look at"
        + (f", such as {cut(images.names[labels.suspicious[0].image])}" if labels.suspicious else "")
    )
    pairs = [f"{cut(images.class_names[p.first])} and {cut(images.class_names[p.second])}" for p in found.look_alike]
    lines.append(f"classes that look like one: {len(pairs):,}" + (f", such as {pairs[0]}" if pairs else " pairs"))
    lines.append(f"classes with fewer than {FEW} images: {len(found.few):,}")
    return [printable(line) for line in (*lines, *_unreadable(found))]


def _unreadable(found: Audit) -> list[str]:
    if not found.broken:
        return []
    return [printable(f"unreadable, passed over: {len(found.broken):,}, such as {cut(found.broken[0][0])}")]


def _such_as(images: ImageSet, groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    first = groups[0].images
    return f", such as {cut(images.names[first[1]])} of {cut(images.names[first[0]])}"


def _class(images: ImageSet, index: int) -> str:
    return str(images.class_names[images.labels[index]])
