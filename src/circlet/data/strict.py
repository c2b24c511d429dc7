"""Pillow's warnings of bad files as errors, in one thread alone.

`warnings.catch_warnings` changes filters that all threads share: while one decoded, the warnings of the others would
become errors, and two that decode at once could leave the filters changed for good. So one filter stays, and whether it
matches is decided by the thread that warns.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_thread = threading.local()


class _Here(type):
    """Type whose subclasses are, for a thread within `strict_warnings`, the warnings of bad files."""

    def __subclasscheck__(cls, category: Any) -> bool:
        # Bombs, truncated tags and corrupt metadata come as these two; a deprecation is no bad file.
        return getattr(_thread, "strict", False) and issubclass(category, UserWarning | RuntimeWarning)


class _BadFile(Warning, metaclass=_Here):
    pass


@contextmanager
def strict_warnings() -> Iterator[None]:
    """Raise UserWarning and RuntimeWarning as errors in this thread, whatever others do meanwhile."""
    # Each time: others may have put back earlier filters; and what was warned of once would not be warned of again.
    warnings.simplefilter("error", _BadFile)
    _thread.strict = True
    try:
        yield
    finally:
        _thread.strict = False
