"""How often one token may upload: a token bucket each, in this process's memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

KNOWN = 10_000  # buckets remembered; a forgotten one was the longest unused, and starts full


class Buckets:
    """Each key may do ``burst`` things at once and ``rate`` a second over time."""

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (left, as of)
        self._lock = Lock()

    def take(self, key: str) -> float:
        """Take one; gives 0, or the seconds to wait where there is none to take."""
        with self._lock:
            now = self._now()
            left, since = self._left.pop(key, (float(self._burst), now))
            left = min(left + (now - since) * self._rate, float(self._burst))
            granted = left >= 1
            self._left[key] = (left - 1 if granted else left, now)
            while len(self._left) > KNOWN:
                self._left.popitem(last=False)
            return 0.0 if granted else (1 - left) / self._rate
