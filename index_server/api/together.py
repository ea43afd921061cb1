"""Lets one thread do the work that several threads ask for at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

AskedT = TypeVar("AskedT")
ResultT = TypeVar("ResultT")


class Together(Generic[AskedT, ResultT]):
    """Calls ``work`` with the items of all waiting threads, one call at a time. Later items wait for the next call.

    ``work`` returns one result for each item, in their order. If it raises, each of these threads gets the error.
    """

    def __init__(self, work: Callable[[Sequence[AskedT]], Sequence[ResultT]], at_most: int) -> None:
        self._work = work
        self._at_most = at_most
        self._waiting: list[tuple[AskedT, Future[ResultT]]] = []
        self._turn = Lock()

    def ask(self, item: AskedT) -> ResultT:
        """Return the result for an item."""
        mine: Future[ResultT] = Future()
        self._waiting.append((item, mine))
        with self._turn:
            while not mine.done():  # else the call of another thread included it
                self._call()
        return mine.result()

    def _call(self) -> None:
        asked = self._waiting[: self._at_most]
        del self._waiting[: self._at_most]
        try:
            results = self._work([item for item, _ in asked])
        except Exception as error:
            for _, future in asked:
                future.set_exception(error)
            return
        for (_, future), result in zip(asked, results, strict=True):
            future.set_result(result)
