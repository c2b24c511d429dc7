"""Requests that come at once are worked on together: while one batch is under way, those that come make the next.

A network takes hardly longer for eight images than for three, and a search looks at each stored vector once for all
queries. Nobody waits for a batch to fill.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Batches(Generic[Asked, Answer]):
    """`work` on lists of at most `most`, one list at a time, in a thread of `executor`; awaited one by one.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> async def both():
    ...     with ThreadPoolExecutor(1) as thread:
    ...         double = Batches(lambda numbers: [2 * number for number in numbers], thread, most=8)
    ...         return await asyncio.gather(double(1), double(5))
    >>> ThreadPoolExecutor(1).submit(asyncio.run, both()).result()
    [2, 10]

    An error of `work` is that of everyone in the list.
    """

    def __init__(self, work: Callable[[list[Asked]], Sequence[Answer]], executor: Executor, *, most: int) -> None:
        self._work, self._executor, self._most = work, executor, most
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Answer:
        """The answer to one, from the batch that it becomes part of."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((asked, future))
        if self._at_work is None or self._at_work.done():
            self._at_work = loop.create_task(self._work_on_all())
        return await future

    async def _work_on_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            batch = [(asked, future) for asked, future in batch if not future.done()]  # who has gone needs no answer
            if not batch:
                continue
            try:
                answers = await loop.run_in_executor(self._executor, self._work, [asked for asked, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
