"""Limits how often one token may upload, by a token bucket in memory for each token."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

KNOWN = 10_000  # buckets kept; the least recently used one is dropped, and starts full when used again


class Buckets:
    """Allows each key ``burst`` actions at once and ``rate`` a second on average."""

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (left, as of)
        self._lock = Lock()

    def take(self, key: str) -> float:
        """Take one action. Return 0 if it is allowed, else the seconds to wait."""
        with self._lock:
            now = self._now()
            left, since = self._left.pop(key, (float(self._burst), now))
            left = min(left + (now - since) * self._rate, float(self._burst))
            granted = left >= 1
            self._left[key] = (left - 1 if granted else left, now)
            while len(self._left) > KNOWN:
                self._left.popitem(last=False)
            return 0.0 if granted else (1 - left) / self._rate
