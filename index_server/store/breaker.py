"""A circuit breaker: while a store does not answer, most calls fail at once instead of waiting for it.

pybreaker 1.4.1 is not used, since it holds its lock during the guarded call. One slow call would block all others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Breaker:
    """Admits all calls until one fails; then one call every ``pause`` seconds until one succeeds."""

    def __init__(self, pause: float, now: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._now = now
        self._failed: float | None = (
            None  # time of the last failure, or of the last call that was admitted after it
        )
        self._lock = Lock()

    def admits(self) -> bool:
        """Whether the caller may send a request to the store now."""
        with self._lock:
            failed = self._failed
            if failed is None:
                return True
            if self._now() - failed < self._pause:
                return False
            self._failed = self._now()
            return True

    def succeeded(self) -> None:
        """Note that the store answered."""
        self._failed = None

    def failed(self) -> None:
        """Note that the store did not answer."""
        with self._lock:
            self._failed = self._now()
