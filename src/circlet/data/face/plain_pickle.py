"""Reading a pickle of bytes, numbers, lists and uint8 or bool arrays; nothing else, and without running anything.

Unpickling can call any function that the file names. Here every name that it may use stands for a small function of
this file, numpy's own included, so that a hostile file can only fail. What takes memory is bounded by the size of the
file: its instructions (`circlet.data.face.pickle_bounds`), and the bytes that the functions make.
"""

import math
import mmap
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from circlet.data.face.pickle_bounds import check_instructions
from circlet.data.images import DataError
from circlet.data.regular import open_regular

_MOST_VALUES = 1_000_000
_MOST_AXES = 8
_DTYPES = {"u1": np.uint8, "b1": np.bool_, "bool": np.bool_, "uint8": np.uint8}


def read_plain_pickle(path: Path) -> Any:
    """The content of a pickle of any protocol, those of Python 2 too: their text is returned as bytes.

    Arrays are returned as numpy arrays. Anything else than plain values in the file is a DataError.
    """
    try:
        with open_regular(path) as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                size = len(mapped)
                check_instructions(mapped, size)
            return _plain(_Plain(file, size).load(), [0])
    except OSError as error:
        raise DataError(f"{path}: found no readable file ({error.strerror}), expected a pickle") from error
    except Exception as error:  # a hostile or damaged pickle fails in many ways
        raise DataError(f"{path}: found no plain pickle ({type(error).__name__}: {error})") from error


class _Plain(pickle.Unpickler):
    """Unpickler that looks nothing up: known names stand for functions of its own, bounded by the file's `size`."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file, encoding="bytes")
        self._left = 2 * size  # content may be encoded first, and then be an array
        self._known: dict[str, Callable[..., Any]] = {
            "numpy.core.multiarray._reconstruct": lambda *_: _Array(self._array),
            "numpy.core.multiarray.scalar": lambda dtype, content: self._array(content, dtype, ())[()],
            "numpy.core.numeric._frombuffer": self._array,
            "numpy.ndarray": lambda *_: _Array(self._array),
            "numpy.dtype": _Dtype,
            "_codecs.encode": self._encode,
            "builtins.bytes": lambda: b"",
        }

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module.replace('numpy._core', 'numpy.core').replace('__builtin__', 'builtins')}.{name}"
        if full not in self._known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, expected bytes, lists and uint8 arrays only")
        return _Call(self._known[full])

    def _take(self, num_bytes: int) -> None:
        """Count bytes that are made of content: a few references to it could ask for them without end."""
        self._left -= num_bytes
        if self._left < 0:
            raise pickle.UnpicklingError("its arrays share their content, and are larger than the file in all")

    def _array(self, content: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("it has an array without type, shape and content")
        is_shape = len(shape) <= _MOST_AXES and all(type(side) is int and 0 <= side <= len(content) for side in shape)
        if not is_shape or len(content) != math.prod(shape):
            raise pickle.UnpicklingError(f"it has an array of {len(shape)} axes that its content does not fill")
        self._take(len(content))
        return np.frombuffer(bytes(content), dtype.type).reshape(shape, order="F" if order in ("F", b"F") else "C")

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """Bytes as Python 3 writes them for protocols up to 2."""
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError(f"it encodes as {encoding!r}, expected latin1")
        self._take(len(text))
        return text.encode("latin1")


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
            raise pickle.UnpicklingError(f"it has an array of {str(name)[:20]!r}, expected uint8 or bool")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for numpy.ndarray while its state is on the way."""

    value: Any = None

    def __init__(self, make: Callable[[Any, Any, Any, str], Any]) -> None:
        self._make = make

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = self._make(content, dtype, shape, "F" if is_fortran else "C")


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
