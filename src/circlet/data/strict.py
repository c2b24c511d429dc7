"""Pillow's warnings of bad files as errors, in one thread alone; but not those of metadata that pixels do not need.

`warnings.catch_warnings` changes filters that all threads share: while one decoded, the warnings of the others would
become errors, and two that decode at once could leave the filters changed for good. So the filters stay, and whether
they match is decided by the thread that warns.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_thread = threading.local()


class _Strict(type):
    """Type whose subclasses are, for a thread within `strict_warnings`, the warnings of bad files."""

    def __subclasscheck__(cls, category: Any) -> bool:
        return getattr(_thread, "strict", False) and _is_of_files(category)


class _Passing(type):
    """Type whose subclasses are those same warnings for a thread within `passing_over`, which takes a note of each."""

    def __subclasscheck__(cls, category: Any) -> bool:
        matches = getattr(_thread, "passing", False) and _is_of_files(category)
        if matches:
            note_metadata()
        return matches


class _BadFile(Warning, metaclass=_Strict):
    pass


class _BadMetadata(Warning, metaclass=_Passing):
    pass


def _is_of_files(category: Any) -> bool:
    # Bombs, truncated tags and corrupt metadata come as these two; a deprecation is no bad file.
    return issubclass(category, UserWarning | RuntimeWarning)


class Notes:
    """What was found on the way: whether metadata was damaged, and passed over."""

    metadata = False


def note_metadata() -> None:
    """Metadata was damaged, for whoever asked `strict_warnings` in this thread."""
    notes = getattr(_thread, "notes", None)
    if notes is not None:
        notes.metadata = True


@contextmanager
def strict_warnings() -> Iterator[Notes]:
    """Raise UserWarning and RuntimeWarning as errors in this thread, whatever others do meanwhile.

    But for those `passing_over`, of which the result tells.
    """
    # Each time: others may have put back earlier filters; and what was warned of once would not be warned of again.
    warnings.simplefilter("error", _BadFile)
    warnings.simplefilter("ignore", _BadMetadata)
    notes = Notes()
    _thread.strict, _thread.notes = True, notes
    try:
        yield notes
    finally:
        _thread.strict, _thread.notes = False, None


@contextmanager
def passing_over() -> Iterator[None]:
    """Pass over UserWarning and RuntimeWarning in this thread, also within `strict_warnings`."""
    before = getattr(_thread, "strict", False), getattr(_thread, "passing", False)
    if not any(before):
        warnings.simplefilter("ignore", _BadMetadata)
    _thread.strict, _thread.passing = False, True
    try:
        yield
    finally:
        _thread.strict, _thread.passing = before
