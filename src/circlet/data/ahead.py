"""Work done ahead in threads, for what lets other threads run meanwhile, such as reading and decoding files."""

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_MOST_THREADS = 8


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_threads() -> int:
    """How many threads decode: one for each core, at most eight."""
    return min(num_cores(), _MOST_THREADS)


def map_ahead(function: Callable[[int], T], count: int, *, threads: int, ahead: int) -> Generator[T, None, None]:
    """Yield `function(0)` to `function(count - 1)` in order, from threads that work up to `ahead` items ahead.

    >>> list(map_ahead(lambda i: i * i, 4, threads=2, ahead=3))
    [0, 1, 4, 9]

    The first error, in the order of the items, is raised in its place, and an iterator that is dropped leaves no thread
    at work. The results do not depend on `threads` and `ahead`.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="circlet-ahead") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for index in range(count):
                waiting.append(pool.submit(function, index))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
