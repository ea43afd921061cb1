"""Upload sessions: growing sets of recorded files, until somebody asks for a snapshot or throws them away.

What came first counts, and stands in ``sessions/<session>/fate.json``. Files are listed below ``files/``, and what
a snapshot is made from is pinned below ``requests/`` (rules 2, 5 and 10 of :mod:`index_server.catalog.catalog`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from index_server.errors import ConflictError
from index_server.model import Fate, Record, SessionFile, SnapshotRequest, sha256_hex, stamp
from index_server.store.interface import ObjectStore
from index_server.store.objects import find, read


class Sessions:
    """All sessions of a store. Several may share it, in one process or in many."""

    def __init__(self, store: ObjectStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def join(self, record: Record, session: str) -> None:
        """Put a recorded file into a session."""
        entry = SessionFile(
            project=record.project, filename=record.filename, sha256=record.sha256, at=stamp(self._now())
        )
        self._store.create(f"sessions/{session}/files/{record.filename}.json", entry.encode())

    def files(self, session: str) -> list[SessionFile]:
        """What a session holds, in the order it came; nothing once it was thrown away."""
        if self._discarded(session):
            return []
        keys = self._store.keys(f"sessions/{session}/files/")
        files = [read(self._store, SessionFile, key) for key in keys]
        return sorted(files, key=lambda file: (file.at, file.filename))

    def closed(self, session: str) -> bool:
        """Whether the session is over: a snapshot was asked from it, or it was thrown away."""
        return self._asked(session) or self._discarded(session)

    def asked(self, session: str, idempotency_key: str) -> bool:
        """Whether a snapshot was asked from the session under this key."""
        return self._store.size(_request_key(session, idempotency_key)) is not None

    def request(self, session: str, idempotency_key: str) -> SnapshotRequest | None:
        """What was pinned under this key, or None."""
        return find(self._store, SnapshotRequest, _request_key(session, idempotency_key))

    def pin(self, session: str, idempotency_key: str, request: SnapshotRequest) -> SnapshotRequest:
        """Write down what a snapshot is to be made from; gives what was pinned first.

        Raises:
            ConflictError: the session was thrown away.
        """
        if self._decide(session, "asked") == "discarded":
            raise ConflictError("this session was thrown away; begin another")
        key = _request_key(session, idempotency_key)
        self._store.create(key, request.encode())
        return read(self._store, SnapshotRequest, key)

    def discard(self, session: str) -> None:
        """Throw a session away; doing so again changes nothing.

        Raises:
            ConflictError: a snapshot was asked from it.
        """
        if self._asked(session) or self._decide(session, "discarded") == "asked":
            raise ConflictError("a snapshot was asked from this session, and snapshots stay")

    def refuse_discarded(self, session: str) -> None:
        """Go on unless the session was thrown away.

        Raises:
            ConflictError: it was.
        """
        if self._discarded(session):
            raise ConflictError("this session was thrown away; begin another")

    def _asked(self, session: str) -> bool:
        return next(iter(self._store.keys(f"sessions/{session}/requests/")), None) is not None

    def _discarded(self, session: str) -> bool:
        fate = find(self._store, Fate, _fate_key(session))
        return fate is not None and fate.fate == "discarded"

    def _decide(self, session: str, fate: Literal["asked", "discarded"]) -> str:
        """Settle what becomes of a session; gives what was settled first."""
        self._store.create(_fate_key(session), Fate(fate=fate, at=stamp(self._now())).encode())
        return read(self._store, Fate, _fate_key(session)).fate


def _fate_key(session: str) -> str:
    return f"sessions/{session}/fate.json"


def _request_key(session: str, idempotency_key: str) -> str:
    return f"sessions/{session}/requests/{sha256_hex(idempotency_key.encode())}.json"
