"""What the JSON files of a run folder must hold, by name: what `RunFolder.read_json` checks as it reads.

Only what is read again is named; files may hold more, as those of later versions do. Settings are checked where they
are made an Experiment of.
"""

from typing import Any, NotRequired, TypedDict

Metrics = dict[str, float | None]
"""By name; None: not finite."""
Intervals = dict[str, tuple[float | None, float | None]]
"""Both ends, by name of the metric."""


class Search(TypedDict):
    """search.json."""

    validation_share: float


class Counts(TypedDict):
    """data.json."""

    train_classes: NotRequired[int]
    train_images: NotRequired[int]


class Diverged(TypedDict):
    """diverged.json."""

    reason: str


class Result(TypedDict):
    """result.json."""

    test: Metrics
    frozen: NotRequired[Metrics]
    raw_pixels: NotRequired[Metrics]
    train_classes: NotRequired[int]
    train_images: NotRequired[int]
    test_classes: NotRequired[int]
    test_images: NotRequired[int]
    train_seconds: NotRequired[float | None]
    intervals: NotRequired[Intervals]
    thresholds: NotRequired[dict[str, Any]]
    open_set: NotRequired[dict[str, Any]]


class Evaluation(TypedDict):
    """evaluation.json."""

    config: dict[str, Any]
    test: Metrics
    frozen: NotRequired[Metrics]
    raw_pixels: NotRequired[Metrics]
    intervals: NotRequired[Intervals]


class Cost(TypedDict):
    """cost.json, of a run of a comparison."""

    finished: bool
    sessions: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    threads: NotRequired[int]
    jobs: NotRequired[int]
    device: NotRequired[str]
    peak_device_memory_mib: NotRequired[float]


class Stage(TypedDict):
    """One of those in stages.json; difference: mean, low and high by metric."""

    stage: str
    validation: Metrics
    difference: dict[str, tuple[float | None, float | None, float | None]]
    kept: bool


class Stages(TypedDict):
    """stages.json."""

    frozen: Metrics | None
    stages: list[Stage]
    sentence: str


class SuspiciousLabel(TypedDict):
    """One of those in audit.json."""

    image: str
    label: str
    suggested: str
    score: float
    likely: bool


class LookAlike(TypedDict):
    """Two classes of audit.json; mixing: mean, low and high."""

    classes: tuple[str, str]
    mixing: tuple[float, float, float]


class Audit(TypedDict):
    """audit.json: what was found in the images before the training; leaks: images by role, and their similarity."""

    judged: int
    likely: int
    leaks: list[dict[str, str | float]]
    suspicious: list[SuspiciousLabel]
    look_alike: list[LookAlike]


CONTENTS: dict[str, Any] = {
    "search.json": Search,
    "data.json": Counts,
    "diverged.json": Diverged,
    "result.json": Result,
    "evaluation.json": Evaluation,
    "frozen.json": Metrics,
    "cost.json": Cost,
    "stages.json": Stages,
    "audit.json": Audit,
}
