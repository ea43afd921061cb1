"""Follows the journals for pages without a request to the store on every request of a client.

A journal in a folder is read each time, by one ``stat``. A journal in a network store is read once in
``look_every`` seconds, in a thread; other requests wait for the same read. Entries that this server writes are
known at once. While the store is away, reads go on, and no request waits long for one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from index_server.errors import StoreError

AWAY_WAIT = 0.25  # seconds that a request waits for a look while the store is known to be away


class Followed(Protocol):
    """The part of a journal that is followed."""

    name: str

    @property
    def serial(self) -> int:
        """The serial of the last entry, read from the store."""

    @property
    def known_serial(self) -> int:
        """The serial when this process last read or wrote the journal."""


class Follower:
    """Follows journals for one event loop."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._looked: dict[str, float] = {}  # journal -> when
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, StoreError] = {}  # journal -> why the last look failed

    def age(self, journal: Followed) -> float:
        """Seconds since the last successful read."""
        looked = self._looked.get(journal.name)
        return float("inf") if looked is None else time.monotonic() - looked

    def current(self, journal: Followed) -> int | None:
        """The serial that the journal had at most ``every`` seconds ago; None if that takes a look at a network.

        Raises:
            StoreError: the read failed.
        """
        if not self._every:
            serial = journal.serial
            self._looked[journal.name] = time.monotonic()
            return serial
        looked = self._looked.get(journal.name)
        recent = looked is not None and time.monotonic() - looked < self._every
        return journal.known_serial if recent else None

    async def serial(self, journal: Followed) -> int:
        """The serial that the journal had at most ``every`` seconds ago.

        Raises:
            StoreError: the read failed.
        """
        serial = self.current(journal)
        if serial is None:
            look = self._looks.get(journal.name)
            if look is None:
                look = self._looks[journal.name] = asyncio.create_task(self._look(journal))
            away = journal.name in self._failed
            await asyncio.wait([look], timeout=AWAY_WAIT if away else None)
            if look.done():
                look.result()
            if journal.name in self._failed:
                raise self._failed[journal.name]
            serial = journal.known_serial
        return serial

    async def _look(self, journal: Followed) -> None:
        try:
            begun = time.monotonic()
            await asyncio.to_thread(getattr, journal, "serial")
            self._looked[journal.name] = begun
            self._failed.pop(journal.name, None)
        except StoreError as error:
            self._failed[journal.name] = error
        finally:
            del self._looks[journal.name]
