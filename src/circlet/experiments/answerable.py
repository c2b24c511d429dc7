"""Whether a test has anything to measure: a query with something to find, as the protocol counts it.

Looked at before a training, on labels alone; the functions of `circlet.evaluate` raise the same afterwards.
"""

import numpy as np
import numpy.typing as npt

from circlet.data import DataError, ImageSet, Splits

Ints = npt.NDArray[np.int64]


def require_matches(splits: Splits) -> None:
    """DataError for retrieval in which no query finds another image of its class, in another group if there are any."""
    query, gallery = splits.query, splits.gallery
    if gallery is None:
        if not has_match(query):
            groups = "" if query.groups is None else " of two groups"
            raise DataError(f"task retrieval: found {len(query)} test images of {query.num_classes} classes and no "
                            "query that has another image of its class to find, expected at least one class of two "
                            f"images{groups}")  # fmt: skip
        return
    labels, gallery_labels = splits.matching_labels()
    groups_known = query.groups is not None and gallery.groups is not None
    if not _any_match(labels, gallery_labels, *((query.groups, gallery.groups) if groups_known else (None, None))):
        if not np.isin(labels, gallery_labels).any():
            raise DataError(f"task retrieval: found no class in both query ({_classes(query)}) and gallery "
                            f"({_classes(gallery)}), expected at least one")  # fmt: skip
        raise DataError("task retrieval: found no image in the gallery that a query could find but its own file or "
                        "group, expected at least one of its class")  # fmt: skip


def require_matches_across_cameras(splits: Splits) -> None:
    """DataError for re-identification in which no query has an image of its class under another camera."""
    query, searched = splits.query, splits.query if splits.gallery is None else splits.gallery
    if query.cameras is None or searched.cameras is None:
        raise DataError("task reid: found images without cameras, expected a camera for each")
    labels, gallery_labels = splits.matching_labels()
    kept = ~searched.is_junk()
    if not _any_match(labels, gallery_labels[kept], query.cameras, searched.cameras[kept]):
        cameras = np.union1d(query.cameras, searched.cameras)
        found = f"{len(cameras)} camera{'s' if len(cameras) > 1 else ''} in all"
        raise DataError(f"task reid: found no query ({len(query)}) that has an image of its class under another camera "
                        f"among the {int(kept.sum())} it searches ({found}), expected at least one; task retrieval "
                        "needs no cameras")  # fmt: skip


def has_match(images: ImageSet) -> bool:
    """Whether any image of a set finds another of its class, in another group if there are any."""
    groups = np.arange(len(images)) if images.groups is None else images.groups
    return _any_match(images.labels, images.labels, groups, groups)


def _any_match(labels: Ints, gallery_labels: Ints, apart: Ints | None, gallery_apart: Ints | None) -> bool:
    """Whether the gallery has an entry of a query's label whose `apart`, where given, is another."""
    if apart is None or gallery_apart is None:
        return bool(np.isin(labels, gallery_labels).any())
    pairs = np.concatenate([np.stack([gallery_labels, gallery_apart], axis=1), np.stack([labels, apart], axis=1)])
    pair = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    of_item, of_query = pair[: len(gallery_labels)], pair[len(gallery_labels) :]
    num_same = np.bincount(gallery_labels, minlength=int(labels.max(initial=0)) + 1)[labels]
    num_passed_over = np.bincount(of_item, minlength=int(pair.max(initial=0)) + 1)[of_query]
    return bool((num_same > num_passed_over).any())


def _classes(images: ImageSet) -> str:
    shown = ", ".join(map(repr, images.class_names[:3])) + (", ..." if images.num_classes > 3 else "")
    return f"{images.num_classes} classes: {shown}" if images.num_classes > 1 else f"the class {shown}"
