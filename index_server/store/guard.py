"""Distinguishes a store that is away from one that lacks an object.

An unmounted folder or an emptied bucket reports every object as absent. So each store has an object ``store.json``
with a random id, which is written once. Before :class:`GuardedStore` reports an object as absent or a listing as
complete, it checks that this mark still exists.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Protocol

from index_server.errors import (
    DamagedError,
    MissingObjectError,
    ReadOnlyStoreError,
    StoreAwayError,
    StoreError,
)
from index_server.model import StoreMark, stamp
from index_server.store.interface import MARK, ObjectStore, Staged
from index_server.store.objects import find

BELIEVED = 0.2  # seconds for which a check of a bucket holds; a folder is checked each time
_log = logging.getLogger(__name__)


class Versioned(ObjectStore, Protocol):
    """A store that can detect whether an object was replaced."""

    def version(self, key: str) -> object | None:
        """Return a value that changes when the object is replaced; None if there is no such object.

        An empty key stands for the store's own folder. The call costs no more than :meth:`size`.
        """


class GuardedStore:
    """A store that reports an object as absent only while the store's mark exists."""

    def __init__(self, inner: Versioned, address: str, now: Callable[[], float] = time.monotonic) -> None:
        self.inner = inner
        self._address = address
        self._now = now
        self._believed_until = 0.0
        self.id = self._mark_id()
        self._witness = (
            MARK if inner.size(MARK) is not None else ""
        )  # "": an older, read-only store without a mark
        self._version = inner.version(self._witness)

    @property
    def look_every(self) -> float:
        return self.inner.look_every

    @property
    def gains_together(self) -> bool:
        return self.inner.gains_together

    def create(self, key: str, data: bytes) -> bool:
        return self.inner.create(key, data)

    def create_from(self, key: str, path: Path) -> bool:
        return self.inner.create_from(key, path)

    def stage(self, objects: Mapping[str, bytes | Path]) -> AbstractContextManager[Staged]:
        return self.inner.stage(objects)

    def get(self, key: str) -> bytes:
        try:
            return self.inner.get(key)
        except MissingObjectError:
            self._vouch()
            raise

    def size(self, key: str) -> int | None:
        size = self.inner.size(key)
        if size is None:
            self._vouch()
        return size

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        try:
            yield from self.inner.read(key, start, stop)
        except MissingObjectError:
            self._vouch()
            raise

    def open(self, key: str) -> BinaryIO | None:
        return self.inner.open(key)

    def keys(self, prefix: str) -> Iterator[str]:
        names = list(self.inner.keys(prefix))
        self._vouch()  # callers take keys that are not listed as absent
        return iter(names)

    def put_hint(self, key: str, data: bytes) -> None:
        self.inner.put_hint(key, data)

    def remove(self, key: str) -> None:
        self.inner.remove(key)

    def written_at(self, key: str) -> datetime | None:
        at = self.inner.written_at(key)
        if at is None:
            self._vouch()
        return at

    def scratch(self) -> AbstractContextManager[Path]:
        return self.inner.scratch()

    def _mark_id(self) -> str | None:
        """Return the id of the store, after writing a mark if there is none.

        Return None if the store is read-only and has no mark, or if the mark is damaged.
        """
        try:
            mark = find(self.inner, StoreMark, MARK)
            if mark is None:
                new_mark = StoreMark(id=token_hex(16), at=stamp(datetime.now(UTC)))
                self.inner.create(MARK, new_mark.encode())
                mark = find(self.inner, StoreMark, MARK)
        except ReadOnlyStoreError:
            return None
        except DamagedError as error:
            _log.error("%s", error)
            return None
        return mark.id if mark else None

    def _vouch(self) -> None:
        """Check that the store is available, and is the one that was opened.

        Raises:
            StoreAwayError: the mark is missing, or belongs to another store.
        """
        if self._now() < self._believed_until:
            return
        asked = self._now()
        version = self.inner.version(self._witness)
        if version is None:
            raise self._away("its mark is missing; is the disk mounted, is the bucket the right one?")
        if version != self._version:
            self._recognise()
            self._version = version
        if self.inner.look_every:
            self._believed_until = asked + BELIEVED

    def _recognise(self) -> None:
        """Compare the id after the mark was replaced: a copied or remounted store has the same id.

        Raises:
            StoreAwayError: it is another store.
        """
        if not self._witness:
            raise self._away("another folder has taken its place")
        try:
            mark = find(self.inner, StoreMark, MARK)
        except DamagedError as error:
            _log.error("%s", error)
            return
        if mark is None or (self.id is not None and mark.id != self.id):
            raise self._away("another store has taken its place")

    def _away(self, reason: str) -> StoreAwayError:
        message = f"the store {self._address} is away: {reason}"
        _log.warning("%s", message)
        return StoreAwayError(message)


def guarded(store: Versioned, address: str, expected: str | None) -> GuardedStore:
    """Return the store with its guard. ``expected`` is the id that it must have; None allows any.

    Raises:
        StoreError: an id is expected, and the store has another one or none.
    """
    found = find(store, StoreMark, MARK) if expected else None
    if expected and (found is None or found.id != expected):
        held = "no id" if found is None else f"the id {found.id}"
        raise StoreError(
            f"{address} has {held}, and ARMWHEELS_STORE_ID is {expected}: "
            "mount the right disk, name the right bucket, or unset ARMWHEELS_STORE_ID for a new store"
        )
    return GuardedStore(store, address)
