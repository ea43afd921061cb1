"""Numbered entries that nobody can take back: the journals of the channels, and the one of yanks and quarantines.

A journal is a folder ``journal/<name>/`` of entries 1, 2, 3 and so on without gaps, each holding the sha256 of
the bytes of the one before. **Creating an entry is the commit.** Of two writers of one serial, one wins, and the
other is told. Hints (``channels/``) only save steps: a missing or stale one costs time, never truth.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Generic

from index_server.errors import StoreError
from index_server.model import GENESIS, EntryT, Hint, sha256_hex
from index_server.store.interface import ObjectStore


def journal_key(name: str, serial: int) -> str:
    """Where an entry lies."""
    return f"journal/{name}/{serial}.json"


class Journal(Generic[EntryT]):
    """One journal, as one process sees it. Several may write to it, in one process or in many."""

    def __init__(self, store: ObjectStore, name: str, model: type[EntryT]) -> None:
        self.store = store
        self.name = name
        self._model = model
        self._known: EntryT | None = None
        self._entry = lru_cache(maxsize=16384)(self._read)

    def head(self) -> EntryT | None:
        """The last entry, None before the first. One look at the store when nothing was written."""
        known = self._known or self._hinted()
        serial = known.serial if known else 0
        while (entry := self._find(serial + 1)) is not None:
            known, serial = entry, serial + 1
        if known is not None and self.known_serial < serial:  # another thread may know more
            self._known = known
        return known

    @property
    def serial(self) -> int:
        """The serial of the head; 0 before the first entry."""
        head = self.head()
        return head.serial if head else 0

    @property
    def known_serial(self) -> int:
        """The serial that the head had when this process last looked or wrote."""
        return self._known.serial if self._known else 0

    def entries(self) -> list[EntryT]:
        """All entries, the oldest first."""
        return [self._entry(serial) for serial in range(1, self.serial + 1)]

    def of_nonce(self, nonce: str) -> EntryT | None:
        """The entry that was written with this nonce: a caller's own, whose answer was lost."""
        return next((entry for entry in reversed(self.entries()) if entry.nonce == nonce), None)

    def append(self, entry: EntryT) -> EntryT | None:
        """Write an entry as the one of its serial; None where another writer was faster.

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
        """Write an entry after whatever others write meanwhile; its serial is filled in here."""
        while True:
            written = self.append(entry.model_copy(update={"serial": self.serial + 1}))
            if written is not None:
                self.hint(written.serial)
                return written

    def hint(self, serial: int) -> None:
        """Tell readers to come how far the journal goes at least."""
        self.store.put_hint(f"channels/{self.name}.json", Hint(serial=serial).encode())

    def _hinted(self) -> EntryT | None:
        """The entry that the hint names, if both are there and whole."""
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
