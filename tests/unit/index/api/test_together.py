"""Threads that ask at the same time share calls, and each gets its own result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from index_server.api.together import Together


def test_threads_share_calls_and_get_their_own_results() -> None:
    calls: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        time.sleep(0.02)
        return [2 * item for item in items]

    together = Together(work, at_most=5)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(together.ask, range(64))) == [2 * item for item in range(64)]
    assert sum(calls) == 64
    assert max(calls) <= 5
    assert len(calls) < 64


def test_an_error_reaches_the_threads_of_its_call_alone() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if 7 in items:
            raise OSError("disk")
        return list(items)

    together = Together(work, at_most=1)

    def ask(item: int) -> int | str:
        try:
            return together.ask(item)
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [*range(7), "disk", *range(8, 16)]
    with pytest.raises(OSError, match="disk"):
        together.ask(7)
