"""Libraries of the extras: imported when they are needed, and named with their extra where they are missing."""

from importlib import import_module
from importlib.util import find_spec
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


def there_is(module: str) -> bool:
    """Whether a library is installed; it is not imported.

    >>> there_is("no_such_library")
    False
    """
    return find_spec(module) is not None
