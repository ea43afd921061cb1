"""Finds a token's own upload session, for clients that name none, such as a plain ``twine upload``.

A token's sessions are numbered from 1. A snapshot that is asked for without naming a session closes the current
one, so that the next upload does not lay files published long ago over newer ones. The current session is the first
that is not closed. A closed session stays closed, so each process remembers how many are, and searches from there.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from index_server.access.tokens import Publisher
from index_server.catalog.sessions import Sessions

REMEMBERED = 10_000  # tokens; of others the search begins at 1


class OwnSessions:
    """The own sessions of all publishers, as seen by one process. Several processes may share a store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._closed: OrderedDict[str, int] = OrderedDict()  # secret hash -> sessions known to be closed
        self._lock = Lock()

    def current(self, publisher: Publisher) -> str:
        """The first session that is not closed. Costs O(log n) requests to the store at first, then O(1)."""
        return publisher.session(self._count_closed(publisher) + 1)

    def asked(self, publisher: Publisher, idempotency_key: str) -> str:
        """The newest session from which a snapshot was requested under this key, else the current one."""
        closed = self._count_closed(publisher)
        for number in range(closed, 0, -1):
            session = publisher.session(number)
            if self._sessions.asked(session, idempotency_key):
                return session
        return publisher.session(closed + 1)

    def _count_closed(self, publisher: Publisher) -> int:
        """How many sessions are closed, by exponential search and then binary search."""
        low = known = self._closed.get(publisher.secret_hash, 0)
        step = 1
        while self._is_closed(publisher, low + step):
            low += step
            step *= 2
        high = low + step  # open; every session up to low is closed
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_closed(publisher, middle):
                low = middle
            else:
                high = middle
        if low > known:
            self._remember(publisher.secret_hash, low)
        return low

    def _is_closed(self, publisher: Publisher, number: int) -> bool:
        return self._sessions.closed(publisher.session(number))

    def _remember(self, secret_hash: str, closed: int) -> None:
        with self._lock:
            self._closed[secret_hash] = max(closed, self._closed.pop(secret_hash, 0))
            while len(self._closed) > REMEMBERED:
                self._closed.popitem(last=False)
