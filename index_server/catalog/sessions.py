"""Upload sessions: growing sets of recorded files, each ended by a request for a snapshot or by discarding it.

The first of the two decides, and is stored in ``sessions/<session>/fate.json``. The files are listed below
``files/``, and the inputs of each snapshot below ``requests/`` (rules 2, 5 and 10 of
:mod:`index_server.catalog.catalog`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from index_server.errors import ConflictError
from index_server.model import Fate, Record, SessionFile, SnapshotRequest, sha256_hex, stamp
from index_server.store.interface import ObjectStore
from index_server.store.objects import find, keys, read


class Sessions:
    """All sessions of a store. Several processes may share the store."""

    def __init__(self, store: ObjectStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def entry(self, record: Record, session: str) -> tuple[str, bytes]:
        """The object that adds a recorded file to a session: its key and bytes."""
        entry = SessionFile(
            project=record.project, filename=record.filename, sha256=record.sha256, at=stamp(self._now())
        )
        return f"sessions/{session}/files/{record.filename}.json", entry.encode()

    def join(self, record: Record, session: str) -> None:
        """Add a recorded file to a session."""
        self._store.create(*self.entry(record, session))

    def files(self, session: str) -> list[SessionFile]:
        """The files of a session in the order of upload; none if the session was discarded."""
        if self._discarded(session):
            return []
        found = keys(self._store, f"sessions/{session}/files/")
        files = [read(self._store, SessionFile, key) for key in found]
        return sorted(files, key=lambda file: (file.at, file.filename))

    def closed(self, session: str) -> bool:
        """Whether a snapshot was requested from the session, or the session was discarded."""
        return self._asked(session) or self._discarded(session)

    def asked(self, session: str, idempotency_key: str) -> bool:
        """Whether a snapshot was requested from the session under this key."""
        return self._store.size(_request_key(session, idempotency_key)) is not None

    def request(self, session: str, idempotency_key: str) -> SnapshotRequest | None:
        """The inputs stored under this key, or None."""
        return find(self._store, SnapshotRequest, _request_key(session, idempotency_key))

    def pin(self, session: str, idempotency_key: str, request: SnapshotRequest) -> SnapshotRequest:
        """Store the inputs of a snapshot. Return the inputs that were stored first.

        Raises:
            ConflictError: the session was discarded.
        """
        if self._decide(session, "asked") == "discarded":
            raise ConflictError("this session was discarded; begin another")
        key = _request_key(session, idempotency_key)
        self._store.create(key, request.encode())
        return read(self._store, SnapshotRequest, key)

    def discard(self, session: str) -> None:
        """Discard a session. Repeating this changes nothing.

        Raises:
            ConflictError: a snapshot was requested from the session.
        """
        if self._asked(session) or self._decide(session, "discarded") == "asked":
            raise ConflictError("a snapshot was requested from this session, so it cannot be discarded")

    def refuse_discarded(self, session: str) -> None:
        """Check that the session was not discarded.

        Raises:
            ConflictError: the session was discarded.
        """
        if self._discarded(session):
            raise ConflictError("this session was discarded; begin another")

    def _asked(self, session: str) -> bool:
        return next(iter(keys(self._store, f"sessions/{session}/requests/")), None) is not None

    def _discarded(self, session: str) -> bool:
        fate = find(self._store, Fate, _fate_key(session))
        return fate is not None and fate.fate == "discarded"

    def _decide(self, session: str, fate: Literal["asked", "discarded"]) -> str:
        """Decide the fate of a session. Return the fate that was decided first."""
        self._store.create(_fate_key(session), Fate(fate=fate, at=stamp(self._now())).encode())
        return read(self._store, Fate, _fate_key(session)).fate


def _fate_key(session: str) -> str:
    return f"sessions/{session}/fate.json"


def _request_key(session: str, idempotency_key: str) -> str:
    return f"sessions/{session}/requests/{sha256_hex(idempotency_key.encode())}.json"
