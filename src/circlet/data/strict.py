"""Pillow's warnings of bad files as errors, in one thread alone; but not those of metadata that pixels do not need.

`warnings.catch_warnings` changes filters that all threads share: while one decoded, the warnings of the others would
become errors, and two that decode at once could leave the filters changed for good. So the filters stay, and whether
they match is decided by the thread that warns.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

_thread = threading.local()
_filters = threading.Lock()
if hasattr(os, "register_at_fork"):  # so that no other thread holds it, for ever, in a forked process
    os.register_at_fork(before=_filters.acquire, after_in_parent=_filters.release, after_in_child=_filters.release)


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


def _put_in_front(*wanted: tuple[Literal["error", "ignore"], type[Warning]]) -> None:
    """Let these filters be the first, in this order.

    Each time: others may have put back earlier filters; and what was warned of once would not be warned of again.
    """
    with _filters:
        # Those that are there stay (the call tells of a change all the same): another thread may warn at any time.
        there = [entry[2] for entry in warnings.filters[: len(wanted)]] == [category for _, category in wanted]
        for action, category in reversed(wanted):
            warnings.simplefilter(action, category, append=there)


@contextmanager
def strict_warnings() -> Iterator[Notes]:
    """Raise UserWarning and RuntimeWarning as errors in this thread, whatever others do meanwhile.

    But for those `passing_over`, of which the result tells.
    """
    _put_in_front(("ignore", _BadMetadata), ("error", _BadFile))
    notes = Notes()
    _thread.strict, _thread.notes = True, notes
    try:
        yield notes
    finally:
        _thread.strict, _thread.notes = False, None


@contextmanager
def passing_over() -> Iterator[Notes]:
    """Pass over UserWarning and RuntimeWarning in this thread, also in `strict_warnings`; tell whether any came."""
    before = getattr(_thread, "strict", False), getattr(_thread, "passing", False)
    outer: Notes | None = getattr(_thread, "notes", None)
    if not any(before):
        _put_in_front(("ignore", _BadMetadata))
    notes = Notes()
    _thread.strict, _thread.passing, _thread.notes = False, True, notes
    try:
        yield notes
    finally:
        _thread.strict, _thread.passing = before
        _thread.notes = outer
        if notes.metadata:
            note_metadata()
