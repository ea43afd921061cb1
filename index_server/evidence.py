"""What was found out about a file after it was closed: appended, never replaced; the newest of a kind counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from index_server.errors import NotFoundError
from index_server.gates import passed
from index_server.model import Evidence, stamp
from index_server.store import ObjectStore


class EvidenceShelf:
    """The objects ``evidence/<sha256>/<kind>/<number>.json``."""

    def __init__(self, store: ObjectStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._passed = lru_cache(maxsize=65536)(self._says_passed)

    def add(self, sha256: str, kind: str, body: object, by: str) -> Evidence:
        """Append what was found out about a file; the newest being the same, nothing is written.

        Raises:
            NotFoundError: no file has this sha256.
        """
        if next(iter(self._store.keys(f"files/{sha256}/")), None) is None:
            raise NotFoundError(f"no file here has the sha256 {sha256}; upload it first")
        fresh = Evidence(sha256=sha256, kind=kind, at=stamp(self._now()), by=by, body=body)
        while True:
            newest = self.find(sha256, kind)
            if newest is not None and newest.body == body:
                return newest
            if self._store.create(_key(sha256, kind, self._count(sha256, kind) + 1), fresh.encode()):
                return fresh

    def find(self, sha256: str, kind: str) -> Evidence | None:
        """The newest evidence of a kind, or None."""
        count = self._count(sha256, kind)
        return self._read(sha256, kind, count) if count else None

    def kinds(self, sha256: str) -> list[str]:
        """The kinds of evidence there are about a file."""
        return sorted(self._counts(sha256))

    def verdicts(self, sha256: str) -> dict[str, tuple[int, bool]]:
        """Of each kind of evidence, the number of the newest and whether it says that the file passed."""
        counts = self._counts(sha256)
        return {kind: (count, self._passed(sha256, kind, count)) for kind, count in counts.items()}

    def _says_passed(self, sha256: str, kind: str, number: int) -> bool:
        return passed(self._read(sha256, kind, number).body, sha256)

    def _counts(self, sha256: str) -> Counter[str]:
        return Counter(key.split("/")[2] for key in self._store.keys(f"evidence/{sha256}/"))

    def _count(self, sha256: str, kind: str) -> int:
        return sum(1 for _ in self._store.keys(f"evidence/{sha256}/{kind}/"))

    def _read(self, sha256: str, kind: str, number: int) -> Evidence:
        key = _key(sha256, kind, number)
        return Evidence.decode(self._store.get(key), key=key)


def _key(sha256: str, kind: str, number: int) -> str:
    return f"evidence/{sha256}/{kind}/{number}.json"
