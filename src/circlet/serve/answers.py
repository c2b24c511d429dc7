"""What the service answers, as types: the JSON, its schema (`circlet.serve.schema`) and the tests come from these."""

from dataclasses import dataclass
from typing import Annotated, Literal

Id = Annotated[str, "Name of an item in addresses: 32 hexadecimal digits."]
Label = Annotated[str, "Class; text, to be shown as text. Empty where none is known."]
Cosine = Annotated[float, "Cosine similarity, -1 to 1; 1 is the same picture."]
Sentence = Annotated[str, "The same in words."]
Meaning = Annotated[str, "What the threshold means, in a sentence."]


@dataclass(frozen=True)
class Neighbour:
    """An item of the index that is like the picture."""

    id: Id
    name: Annotated[str, "Path below the folder that was indexed; of enrolled items a name of the service's own."]
    label: Label
    similarity: Cosine
    enrolled: Annotated[bool, "Added through this service, and may be taken back."]
    same_picture: Annotated[bool, "Byte for byte the picture that was sent."]


@dataclass(frozen=True)
class Candidate:
    """A class, by its most similar item."""

    label: Label
    similarity: Cosine
    id: Annotated[str, "That item."]


@dataclass(frozen=True)
class Searched:
    """Neighbours of a picture, most similar first."""

    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Identified:
    """Which class a picture shows, or that it is none of those enrolled."""

    verdict: Annotated[Literal["known", "unknown", "undecided"], "undecided: the index has no threshold."]
    label: Annotated[str | None, "The class; null unless known."]
    similarity: Annotated[float | None, "Of the most similar class; null in an empty index."]
    threshold: Annotated[float | None, "Similarity from which a class counts as known; null: there is none."]
    sentence: Sentence
    meaning: Meaning
    candidates: Annotated[tuple[Candidate, ...], "The most similar classes, at most five."]
    neighbours: Annotated[tuple[Neighbour, ...], "The most similar items."]


@dataclass(frozen=True)
class Verified:
    """Whether two pictures show one class."""

    verdict: Annotated[Literal["same", "different", "undecided"], "undecided: the index has no threshold."]
    similarity: Cosine
    threshold: Annotated[float | None, "Similarity from which two count as the same; null: there is none."]
    sentence: Sentence
    meaning: Meaning


@dataclass(frozen=True)
class Enrolled:
    """A picture that is in the index now."""

    id: Id
    label: Label
    created: Annotated[bool, "false: it was there before, under this class."]


@dataclass(frozen=True)
class TakenBack:
    """An item that is not in the index any more."""

    id: Id
    label: Label


@dataclass(frozen=True)
class Item:
    """An item of the index."""

    id: Id
    name: Annotated[str, "Path below the folder that was indexed, or a name of the service's own."]
    label: Label
    enrolled: Annotated[bool, "Added through this service, and may be taken back."]


@dataclass(frozen=True)
class Items:
    """Some items."""

    items: tuple[Item, ...]
    total: Annotated[int, "How many there are of the kind that was asked for."]


@dataclass(frozen=True)
class Class:
    """A class of the index."""

    label: Label
    images: Annotated[int, "Number of its items."]
    enrolled: Annotated[int, "How many of them were added through this service."]
    id: Annotated[str, "Its first item."]


@dataclass(frozen=True)
class Classes:
    """Some classes, by name."""

    classes: tuple[Class, ...]
    total: Annotated[int, "How many there are that were asked for."]


@dataclass(frozen=True)
class Health:
    """The service answers. Needs no token."""

    status: Literal["ok"]
    version: str
    token: Annotated[bool, "Whether the rest needs a token."]
    signed_in: Annotated[bool, "Whether this request carried it, or a session."]


@dataclass(frozen=True)
class ThresholdText:
    """A similarity from which something counts, and what that means."""

    task: Literal["identify", "verify"]
    rate: Annotated[float, "Wanted share of errors: unknown ones taken for known (FPIR), or different pairs for the "
                    "same (FAR)."]  # fmt: skip
    similarity: Cosine
    meaning: Meaning


@dataclass(frozen=True)
class About:
    """What is served."""

    name: Annotated[str, "Of the index."]
    model: Annotated[str, "Name of the network."]
    items: int
    classes: int
    enrolled: int
    read_only: Annotated[bool, "Nothing can be enrolled."]
    thresholds: tuple[ThresholdText, ...]
    formats: tuple[str, ...]
    max_mib: Annotated[float, "Largest upload."]
    max_megapixels: float


@dataclass(frozen=True)
class Error:
    """A request that was not served."""

    status: Annotated[int, "As that of HTTP."]
    error: Annotated[str, "One sentence: what was found, what was expected."]
