"""Append-only journals: one a channel, and one each for yanks and quarantines, leases, and collected files.

A journal is a folder ``journal/<name>/`` of entries 1, 2, 3 and so on without gaps. Each entry holds the sha256 of
the bytes of the entry before. **Creating an entry is the commit.** Of two writers of one serial, one succeeds and
the other is told. Hints (``channels/``) save steps; a missing or old hint costs time and nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Generic

from index_server.errors import StoreError
from index_server.model import GENESIS, EntryT, Hint, sha256_hex
from index_server.store.interface import ObjectStore


def journal_key(name: str, serial: int) -> str:
    """The key of an entry."""
    return f"journal/{name}/{serial}.json"


class Journal(Generic[EntryT]):
    """One journal, as seen by one process. Several threads and processes may write to it."""

    def __init__(self, store: ObjectStore, name: str, model: type[EntryT]) -> None:
        self.store = store
        self.name = name
        self._model = model
        self._known: EntryT | None = None
        self._entry = lru_cache(maxsize=16384)(self._read)

    def head(self) -> EntryT | None:
        """The last entry, or None. Costs one request to the store if nothing was written since the last call."""
        known = self._known or self._hinted()
        serial = known.serial if known else 0
        while (entry := self._find(serial + 1)) is not None:
            known, serial = entry, serial + 1
        if known is not None and self.known_serial < serial:  # another thread may know more
            self._known = known
        return known

    @property
    def serial(self) -> int:
        """The serial of the last entry; 0 without entries."""
        head = self.head()
        return head.serial if head else 0

    @property
    def known_serial(self) -> int:
        """The serial of the last entry when this process last read or wrote the journal."""
        return self._known.serial if self._known else 0

    def entries(self) -> list[EntryT]:
        """All entries, the oldest first."""
        return [self._entry(serial) for serial in range(1, self.serial + 1)]

    def of_nonce(self, nonce: str) -> EntryT | None:
        """The entry with this nonce, by which a caller finds its own entry after a lost answer; or None."""
        return next((entry for entry in reversed(self.entries()) if entry.nonce == nonce), None)

    def append(self, entry: EntryT) -> EntryT | None:
        """Write an entry under its serial. Return None if another writer was faster.

        The hash of the entry before is filled in here.
        """
        before = entry.serial - 1
        if self.serial != before:
            return None
        previous = sha256_hex(self.store.get(journal_key(self.name, before))) if before else GENESIS
        chained = entry.model_copy(update={"previous_hash": previous})
        self.store.create(journal_key(self.name, entry.serial), chained.encode())
        written = self._known = self._read(entry.serial)
        return written if written.nonce == entry.nonce else None

    def push(self, entry: EntryT) -> EntryT:
        """Append an entry under the next free serial, which is filled in here."""
        while True:
            written = self.append(entry.model_copy(update={"serial": self.serial + 1}))
            if written is not None:
                self.hint(written.serial)
                return written

    def hint(self, serial: int) -> None:
        """Store a hint for later readers that the journal goes at least so far."""
        self.store.put_hint(f"channels/{self.name}.json", Hint(serial=serial).encode())

    def _hinted(self) -> EntryT | None:
        """The entry that the hint names, if both exist and are valid."""
        key = f"channels/{self.name}.json"
        if self.store.size(key) is None:
            return None
        try:
            hint = Hint.decode(self.store.get(key), key=key)
        except StoreError:
            return None
        return self._find(hint.serial)

    def _find(self, serial: int) -> EntryT | None:
        if self.store.size(journal_key(self.name, serial)) is None:  # cheaper than a failed read
            return None
        return self._read(serial)

    def _read(self, serial: int) -> EntryT:
        key = journal_key(self.name, serial)
        return self._model.decode(self.store.get(key), key=key)
