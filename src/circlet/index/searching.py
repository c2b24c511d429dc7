"""Neighbours of a vector in a store, with the very file that was searched for told apart; and the classes near it."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from torch import Tensor

from circlet.data import ImageSet, content_digest
from circlet.index.deciding import Candidate, Identified, Rule, identified
from circlet.index.updating import as_rows
from circlet.vectors import Floats, Item, Store
from circlet.vectors.checks import check_k

T = TypeVar("T")

NUM_CANDIDATES = 5
MOST = 10_000  # images to look at: not every store gives more
_FIRST, _FACTOR, _ENOUGH = 64, 4, 1024  # of them, for classes


class Neighbour(NamedTuple):
    """An image of the index: its name, its class ("" where it has none), and the cosine similarity, -1 to 1.

    same: it is the very file that was searched for, byte for byte.
    """

    name: str
    label: str
    similarity: float
    same: bool = False


def search_rows(store: Store, images: ImageSet, rows: Tensor, k: int) -> list[list[Neighbour]]:
    """`neighbours` of images, by their rows (n, dim) and their content."""
    check_k(k)
    return neighbours(store, as_rows(rows), k, [content_digest(images, i).hex() for i in range(len(images))])


def identify_rows(store: Store, rows: Tensor, rule: Rule, num_classes: int) -> list[Identified]:
    """What images with the rows (n, dim) are, by a rule; num_classes: that the store has."""
    return [identified(nearest, rule) for nearest in candidates(store, as_rows(rows), num_classes)]


def neighbours(store: Store, rows: Floats, k: int, contents: Sequence[str]) -> list[list[Neighbour]]:
    """For each of (q, dim) rows those with its content (q) first, then the k most similar others."""
    found: list[list[Neighbour]] = [[] for _ in rows]
    waiting, asked = list(range(len(rows))), k + 1
    while waiting:
        again = []
        for place, pairs in zip(waiting, nearest(store, rows[waiting], asked), strict=True):
            same = [pair for pair in pairs if pair[0].content == contents[place]]
            if len(pairs) - len(same) < k and len(pairs) == asked < MOST:  # copies of it take the places of others
                again.append(place)
                continue
            others = [pair for pair in pairs if pair[0].content != contents[place]][:k]
            found[place] = [
                Neighbour(item.name, item.label, value, rank < len(same))
                for rank, (item, value) in enumerate([*same, *others])
            ]
        waiting, asked = again, min(4 * asked, MOST)
    return found


def candidates(store: Store, rows: Floats, num_classes: int) -> list[list[Candidate]]:
    """The most similar classes of each of (q, dim) rows, best first, by their most similar image.

    Images without a class are passed over; none where no class is among the nearest 10,000.
    """
    found: list[list[Candidate]] = [[] for _ in rows]
    waiting, asked = list(range(len(rows))), _FIRST
    while waiting:
        again = []
        for place, pairs in zip(waiting, nearest(store, rows[waiting], asked), strict=True):
            best: dict[str, Candidate] = {}
            for item, value in pairs:
                if item.label and item.label not in best:
                    best[item.label] = Candidate(item.label, value, item.name)
            enough = len(best) >= min(NUM_CANDIDATES, num_classes) or (best and asked >= _ENOUGH)
            if not enough and len(pairs) == asked < MOST:
                again.append(place)
            found[place] = list(best.values())[:NUM_CANDIDATES]
        waiting, asked = again, min(_FACTOR * asked, MOST)
    return found


def nearest(store: Store, rows: Floats, k: int) -> list[list[tuple[Item, float]]]:
    """The k nearest items of each row, with their similarity."""
    if k > _ENOUGH:  # what is set aside for them is k numbers a row
        k = min(k, max(len(store), 1))
    similarity, items = store.search(rows, k)
    values = similarity.clip(-1, 1).tolist()
    return [list(zip(each, row, strict=False)) for each, row in zip(items, values, strict=True)]


def only(found: list[T], other: str) -> T:
    """What was found for the one image that was given; ValueError where there were several."""
    if len(found) != 1:
        raise ValueError(f"image: found {len(found)}, expected one ({other} takes several)")
    return found[0]
