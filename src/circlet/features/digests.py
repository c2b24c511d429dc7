"""What a row of features depends on, as 32 hexadecimal digits: BLAKE2b of 128 bits.

Two things with the same digest give the same features. The other way round it is only a wish: the same network saved
with other names, or a comment changed in the file of its class, is another one, and is computed again.
"""

import hashlib
import sys
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

Piece: TypeAlias = str | bytes | int | float | tuple["Piece", ...]

_BYTES = 16


def digest(*parts: Piece) -> str:
    """32 hexadecimal digits of some values, their types and their order.

    >>> digest("lite0", 224, (0.5, 0.5))
    '0647e5001eb08e5ed2c1afb877780d02'
    >>> digest("ab", "c") == digest("a", "bc"), digest(1) == digest(1.0)
    (False, False)

    parts: strings, bytes, integers, floats, and tuples of such. `bytes.fromhex` makes a key of 16 bytes of it.

    Raises ValueError for anything else, since its text may leave out what matters.
    """
    state = hashlib.blake2b(digest_size=_BYTES)
    _feed(state, parts)
    return state.hexdigest()


def digest_of_module(module: nn.Module) -> str:
    """32 hexadecimal digits of a network: its structure, its code and its weights.

    >>> layer = nn.Linear(2, 3)
    >>> before = digest_of_module(layer)
    >>> _ = layer.weight.data[0, 0].add_(1)
    >>> digest_of_module(layer) == before
    False

    module: on any device but `meta`. What goes in: the module as printed and its class; the source files in which the
    classes of its parts are written, those of torch excepted; name, dtype, shape and bytes of every parameter and
    buffer, those that are not saved too. What does not: the mode (training or evaluation), hooks, and code in other
    files. A network of a script is another one after the script was edited.

    Raises ValueError for weights without bytes (device `meta`), and for state that is no tensor.
    """
    state = hashlib.blake2b(digest_size=_BYTES)
    _feed(state, (type(module).__module__, type(module).__qualname__, str(module)))
    for source in _sources(module):
        _feed(state, (source,))
    for name, tensor in sorted({**module.state_dict(), **dict(module.named_buffers())}.items()):
        if not isinstance(tensor, torch.Tensor) or tensor.is_meta:
            found = "a tensor on the device meta" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise ValueError(f"module: found {found} as {name!r}, expected a tensor with its numbers")
        _feed(state, (name, str(tensor.dtype), tuple(tensor.shape)))
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _feed(state: hashlib.blake2b, parts: tuple[Piece, ...]) -> None:
    """Every value with its type and length before it, so that no two sequences look alike."""
    for part in parts:
        if isinstance(part, tuple):
            state.update(b"tuple %d:" % len(part))
            _feed(state, part)
            continue
        if isinstance(part, bytes):
            kind, content = "bytes", part
        elif isinstance(part, str):
            kind, content = "str", part.encode("utf-8", "surrogatepass")
        elif isinstance(part, int):
            kind, content = "bool" if isinstance(part, bool) else "int", b"%d" % part
        elif isinstance(part, float):
            kind, content = "float", float(part).hex().encode()
        else:
            raise ValueError(f"parts: found {type(part).__name__}, expected str, bytes, int, float or a tuple of them")
        state.update(f"{kind} {len(content)}:".encode() + content)


def _sources(module: nn.Module) -> list[bytes]:
    """The source files of the classes that a network is made of, in the order of their modules' names."""
    names = {type(part).__module__ for part in module.modules()}
    found = []
    for name in sorted(name for name in names if name.partition(".")[0] != "torch"):
        path = getattr(sys.modules.get(name), "__file__", None)
        if path is not None and Path(path).is_file():
            found.append(Path(path).read_bytes())
    return found
