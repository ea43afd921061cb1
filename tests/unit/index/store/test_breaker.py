"""After a failure few ask, until one is answered."""

from __future__ import annotations

from index_server.store.breaker import Breaker


def test_one_call_in_a_pause_is_admitted_until_one_succeeds() -> None:
    now = [0.0]
    breaker = Breaker(1.0, lambda: now[0])
    assert [breaker.admits() for _ in range(3)] == [True] * 3
    breaker.failed()
    assert [breaker.admits() for _ in range(3)] == [False] * 3
    now[0] = 1.0
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    now[0] = 2.0
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.admits() for _ in range(3)] == [True] * 3
