"""The session of a client that names none: the right one, found by few questions to the store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index_server.access.own_sessions import OwnSessions
from index_server.access.tokens import Publisher
from index_server.catalog.sessions import Sessions
from index_server.model import SnapshotRequest
from tests.helpers.stores import MemoryStore

ANN = Publisher("ann", "a" * 64)
BOB = Publisher("bob", "b" * 64)
REQUEST = SnapshotRequest(channel="nightly", parent=None, at="2026-11-23T00:00:00.000000Z", files=())


class CountingStore(MemoryStore):
    """Counts the calls that a store over a network would answer one by one."""

    calls = 0

    def size(self, key: str) -> int | None:
        self.calls += 1
        return super().size(key)

    def get(self, key: str) -> bytes:
        self.calls += 1
        return super().get(key)

    def keys(self, prefix: str) -> Iterator[str]:
        self.calls += 1
        return super().keys(prefix)


def sessions_of(store: MemoryStore) -> Sessions:
    return Sessions(store, lambda: datetime.now(UTC))


def close(sessions: Sessions, session: str, key: str = "key") -> None:
    sessions.pin(session, key, REQUEST)


@pytest.mark.parametrize("closed", [0, 1, 2, 3, 7, 8, 9, 200])
def test_the_first_open_session_is_found_by_few_calls(closed: int) -> None:
    store = CountingStore()
    sessions = sessions_of(store)
    for number in range(1, closed + 1):
        close(sessions, ANN.session(number))
    own = OwnSessions(sessions)
    store.calls = 0
    assert own.current(ANN) == ANN.session(closed + 1)
    assert store.calls <= 4 * (closed.bit_length() + 1)
    store.calls = 0
    assert own.current(ANN) == ANN.session(closed + 1)
    assert store.calls <= 2
    close(sessions, ANN.session(closed + 1))
    store.calls = 0
    assert own.current(ANN) == ANN.session(closed + 2)
    assert store.calls <= 6


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from([ANN, BOB]), st.booleans()), max_size=60))
def test_two_servers_on_one_store_agree(steps: list[tuple[int, Publisher, bool]]) -> None:
    sessions = sessions_of(MemoryStore())
    servers = (OwnSessions(sessions), OwnSessions(sessions))
    closed = {ANN: 0, BOB: 0}
    for server, publisher, discard in steps:
        session = servers[server].current(publisher)
        assert session == publisher.session(closed[publisher] + 1)
        if discard:
            sessions.discard(session)
        else:
            close(sessions, session)
        closed[publisher] += 1


def test_a_snapshot_asked_again_is_of_the_same_session() -> None:
    sessions = sessions_of(MemoryStore())
    for number in range(1, 6):
        close(sessions, ANN.session(number), f"key-{number}")
    own = OwnSessions(sessions)
    for number in range(1, 6):
        assert own.asked(ANN, f"key-{number}") == ANN.session(number)
    assert own.asked(ANN, "another") == ANN.session(6)
