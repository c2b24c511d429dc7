"""Reading a pickle of bytes, numbers, lists and uint8 or bool arrays; nothing else, and without running anything.

Unpickling can call any function that the file names. Here every name that it may use stands for a small function of
this file, numpy's own included, so that a hostile file can only fail. It can still ask for much memory.
"""

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from circlet.data.images import DataError

_MOST_VALUES = 1_000_000
_DTYPES = {"u1": np.uint8, "b1": np.bool_, "bool": np.bool_, "uint8": np.uint8}


def read_plain_pickle(path: Path) -> Any:
    """The content of a pickle of any protocol, those of Python 2 too: their text is returned as bytes.

    Arrays are returned as numpy arrays. Anything else than plain values in the file is a DataError.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Plain(file, encoding="bytes").load(), [0])
    except OSError as error:
        raise DataError(f"{path}: found no readable file ({error.strerror}), expected a pickle") from error
    except Exception as error:  # a hostile or damaged pickle fails in many ways
        raise DataError(f"{path}: found no plain pickle ({type(error).__name__}: {error})") from error


class _Plain(pickle.Unpickler):
    """Unpickler that looks nothing up: known names stand for the functions below."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(f"{module.replace('numpy._core', 'numpy.core').replace('__builtin__', 'builtins')}.{name}")
        if known is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, expected bytes, lists and uint8 arrays only")
        return _Call(known)


class _Call:
    """A name of the file: it can be called, and has no attributes to be set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets the state of a function")


class _Dtype:
    """Stands for numpy.dtype; only its name counts, as both types have one byte and no order."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        self.type = _DTYPES.get(text) if isinstance(text, str) else None
        if self.type is None:
            raise pickle.UnpicklingError(f"it has an array of {name!r}, expected uint8 or bool")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for numpy.ndarray while its state is on the way."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = _array(content, dtype, shape, "F" if is_fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: str = "C") -> Any:
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray) or len(content) != math.prod(shape):
        raise pickle.UnpicklingError(f"it has an array of shape {shape} that its content does not fill")
    return np.frombuffer(bytes(content), dtype.type).reshape(shape, order="F" if order in ("F", b"F") else "C")


def _scalar(dtype: Any, content: Any) -> Any:
    return _array(content, dtype, ())[()]


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as Python 3 writes them for protocols up to 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it encodes as {encoding!r}, expected latin1")
    return text.encode("latin1")


_KNOWN: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array,
    "numpy.ndarray": lambda *_: _Array(),
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "builtins.bytes": lambda: b"",
}


def _plain(value: Any, num_values: list[int]) -> Any:
    """The value with the arrays in place of what stood for them; anything else than plain values is an error.

    num_values counts: lists that hold the same list again and again are small as a file and endless as a value.
    """
    num_values[0] += 1
    if num_values[0] > _MOST_VALUES:
        raise pickle.UnpicklingError(f"it has more than {_MOST_VALUES:,} values")
    if isinstance(value, list | tuple):
        return [_plain(item, num_values) for item in value]
    if isinstance(value, _Array):
        value = value.value
    if not isinstance(value, bytes | str | bool | int | np.bool_ | np.uint8 | np.ndarray):
        raise pickle.UnpicklingError(f"it has {type(value).__name__}, expected bytes, lists and uint8 arrays only")
    return value
