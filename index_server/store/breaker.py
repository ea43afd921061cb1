"""Spares callers the wait for a store that was silent a moment ago.

pybreaker holds its lock while the guarded call runs (version 1.4.1), so that one slow call would stop all others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Breaker:
    """After a failure, admits one call in ``pause`` seconds until one succeeds."""

    def __init__(self, pause: float, now: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._now = now
        self._failed: float | None = None  # when the last call failed, or was admitted after a failure
        self._lock = Lock()

    def admits(self) -> bool:
        """Whether the caller may ask the store."""
        with self._lock:
            failed = self._failed
            if failed is None:
                return True
            if self._now() - failed < self._pause:
                return False
            self._failed = self._now()
            return True

    def succeeded(self) -> None:
        """The store answered."""
        self._failed = None

    def failed(self) -> None:
        """The store did not answer."""
        with self._lock:
            self._failed = self._now()
