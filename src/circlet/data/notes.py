"""What opening a set has to say: a sentence on standard error, by one process of a run and once."""

import os
import sys
from functools import cache

from circlet.terminal import printable


@cache
def say_once(sentence: str) -> None:
    """Print a sentence on standard error, unless this process has done so, or another rank of torchrun does."""
    if os.environ.get("RANK", "0") == "0":
        print(printable(sentence), file=sys.stderr, flush=True)
