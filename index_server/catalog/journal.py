"""Append-only journals: one a channel, and one each for yanks and quarantines, leases, and collected files.

A journal is a folder ``journal/<name>/`` of entries 1, 2, 3 and so on without gaps. Each entry holds the sha256 of
the bytes of the entry before. **Creating an entry is the commit.** Of two writers of one serial, only one succeeds.

Hints (``channels/``) are written after the commit. They have the serial and the hash of an entry. A missing or old
hint only costs time. A hint ahead of its journal means that acknowledged entries are lost. Then readers use the
remaining entries, and writers are refused, since they would replace the lost entries.

A damaged entry stops only those requests that need it.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Generic

from index_server.errors import DamagedError, MissingObjectError
from index_server.model import GENESIS, EntryT, Hint, sha256_hex
from index_server.store.interface import ObjectStore
from index_server.store.objects import find, keys

_log = logging.getLogger(__name__)


def hint_key(name: str) -> str:
    """The key of a journal's hint."""
    return f"channels/{name}.json"


def serial_of(key: str) -> int:
    """The serial of an entry by its key."""
    return int(key.rpartition("/")[2].removesuffix(".json"))


def journal_key(name: str, serial: int) -> str:
    """The key of an entry."""
    return f"journal/{name}/{serial}.json"


class Journal(Generic[EntryT]):
    """One journal, as seen by one process. Several threads and processes may write to it."""

    def __init__(self, store: ObjectStore, name: str, model: type[EntryT]) -> None:
        self.store = store
        self.name = name
        self._model = model
        self._known: int | None = None  # the last serial that was seen
        self._entry = lru_cache(maxsize=16384)(self._read)

    def head(self) -> EntryT | None:
        """The last entry, or None. Costs one request to the store if nothing was written since the last call.

        Raises:
            DamagedError: the last entry is damaged.
        """
        serial = self.serial
        return self._entry(serial) if serial else None

    @property
    def serial(self) -> int:
        """The serial of the last entry, damaged or not; 0 without entries."""
        serial = self._begin() if self._known is None else self._known
        while self.store.size(journal_key(self.name, serial + 1)) is not None:
            serial += 1
        self._known = max(serial, self.known_serial)  # another thread may know more
        return serial

    @property
    def known_serial(self) -> int:
        """The serial of the last entry when this process last read or wrote the journal."""
        return self._known or 0

    def entries(self) -> list[EntryT]:
        """All entries, the oldest first.

        Raises:
            DamagedError: an entry is damaged or missing.
        """
        return [self._entry(serial) for serial in range(1, self.serial + 1)]

    def readable(self) -> list[EntryT | None]:
        """All entries, the oldest first, with None in place of those that are damaged or missing."""
        return [self._readable(serial) for serial in range(1, self.serial + 1)]

    def of_nonce(self, nonce: str) -> EntryT | None:
        """The entry with this nonce, or None. A caller finds its own entry by it after a lost answer."""
        return next((entry for entry in reversed(self.readable()) if entry and entry.nonce == nonce), None)

    def append(self, entry: EntryT) -> EntryT | None:
        """Write an entry under its serial. Return None if another writer was faster.

        The hash of the entry before is filled in here.

        Raises:
            DamagedError: the entry before is damaged, or entries after it are lost.
        """
        before = entry.serial - 1
        if self.serial != before:
            return None
        self.refuse_loss()
        chained = entry.model_copy(update={"previous_hash": self._hash(before) if before else GENESIS})
        self.store.create(journal_key(self.name, entry.serial), chained.encode())
        written = self._read(entry.serial)
        self._known = max(entry.serial, self.known_serial)
        return written if written.nonce == entry.nonce else None

    def push(self, entry: EntryT) -> EntryT:
        """Append an entry under the next free serial, which is filled in here."""
        while True:
            written = self.append(entry.model_copy(update={"serial": self.serial + 1}))
            if written is not None:
                self.hint()
                return written

    def hint(self) -> None:
        """Store a hint for later readers: the serial of the last entry, and its hash."""
        serial = self.serial
        digest = sha256_hex(self._bytes(serial))
        self.store.put_hint(hint_key(self.name), Hint(serial=serial, sha256=digest).encode())

    def hinted(self) -> Hint | None:
        """The hint; None if it is missing or damaged."""
        try:
            return find(self.store, Hint, hint_key(self.name))
        except DamagedError:  # hints only save time
            return None

    def lost(self) -> int | None:
        """The serial of an acknowledged entry that is missing, or None."""
        hint = self.hinted()
        if hint is None or self.store.size(journal_key(self.name, hint.serial)) is not None:
            return None
        return hint.serial

    def refuse_loss(self) -> None:
        """Check that no entry is known to be lost.

        Raises:
            DamagedError: an entry is lost.
        """
        lost = self.lost()
        if lost is not None:
            raise DamagedError(
                journal_key(self.name, lost),
                f"it is missing, although {hint_key(self.name)} shows that it was written; restore it, or accept "
                "the loss by removing that hint",
            )

    def _begin(self) -> int:
        """The serial to start the search for the last entry from: the hint's, else the last one that is listed."""
        hint = self.hinted()
        if hint is not None and self.store.size(journal_key(self.name, hint.serial)) is not None:
            return hint.serial
        if hint is not None:
            key = journal_key(self.name, hint.serial)
            _log.error("%s is missing: entries that were acknowledged are lost", key)
        return max((serial_of(key) for key in keys(self.store, f"journal/{self.name}/")), default=0)

    def _hash(self, serial: int) -> str:
        """Return the hash of an entry, for the next one to contain.

        Raises:
            DamagedError: the entry is damaged, or differs from the hint.
        """
        key = journal_key(self.name, serial)
        data = self._bytes(serial)
        self._model.decode(data, key=key)
        digest, hint = sha256_hex(data), self.hinted()
        if hint is not None and hint.serial == serial and hint.sha256 not in (None, digest):
            raise DamagedError(key, "its bytes have changed")
        return digest

    def _readable(self, serial: int) -> EntryT | None:
        try:
            return self._entry(serial)
        except DamagedError:
            return None

    def _read(self, serial: int) -> EntryT:
        key = journal_key(self.name, serial)
        entry = self._model.decode(self._bytes(serial), key=key)
        if entry.serial != serial:
            raise DamagedError(key, f"it is the entry {entry.serial}")
        return entry

    def _bytes(self, serial: int) -> bytes:
        key = journal_key(self.name, serial)
        try:
            return self.store.get(key)
        except MissingObjectError as error:
            raise DamagedError(key, "it is missing") from error
