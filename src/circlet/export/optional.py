"""Libraries of the extras `export` and `hub`: imported when they are needed, and named with their extra if missing."""

from importlib import import_module
from typing import Any


def need(module: str, extra: str) -> Any:
    """The module of that name; ImportError that says which extra it comes with.

    >>> need("no_such_library", "export")
    Traceback (most recent call last):
    ImportError: no_such_library is not installed; expected the extra: pip install 'circlet[export]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise ImportError(f"{missing} is not installed; expected the extra: pip install 'circlet[{extra}]'") from error
