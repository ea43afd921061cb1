"""How pages keep up with the journals without asking the store on every request.

A journal in a folder is looked at each time: one ``stat``. A journal in a store over a network is looked at
once in ``look_every`` seconds, in a thread, and whoever asks meanwhile waits for that one look. What was
written through this server is known at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Followed(Protocol):
    """What is asked of a journal."""

    name: str

    @property
    def serial(self) -> int:
        """How far the journal goes, by a look at the store."""

    @property
    def known_serial(self) -> int:
        """How far it went when this process last looked or wrote."""


class Follower:
    """How far journals go, for one event loop."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._looked: dict[str, float] = {}  # journal -> when
        self._looks: dict[str, asyncio.Task[None]] = {}

    async def serial(self, journal: Followed) -> int:
        """The serial that the journal had reached at most ``every`` seconds ago."""
        if not self._every:
            return journal.serial
        looked = self._looked.get(journal.name)
        if looked is None or time.monotonic() - looked >= self._every:
            look = self._looks.get(journal.name)
            if look is None:
                look = self._looks[journal.name] = asyncio.create_task(self._look(journal))
            await asyncio.shield(look)
        return journal.known_serial

    async def _look(self, journal: Followed) -> None:
        try:
            begun = time.monotonic()
            await asyncio.to_thread(getattr, journal, "serial")
            self._looked[journal.name] = begun
        finally:
            del self._looks[journal.name]
