"""The cost of a build: time, processor time, and how many units came from the compile cache."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_STEPS, _CACHE, _COST = "steps.jsonl", "ccache-stats.log", "cost.json"
_HITS = ("direct_cache_hit", "preprocessed_cache_hit")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Wall time and processor time in seconds, over all runs; steps that were killed are not counted.

    ``shared`` units came from the cache, ``compiled`` ones did not.
    """

    seconds: float
    cpu_seconds: float
    shared: int
    compiled: int

    def __str__(self) -> str:
        units = self.shared + self.compiled
        cached = f"; {self.shared:,} of {units:,} units came from the cache" if units else ""
        return f"{_clock(self.seconds)}, {self.cpu_seconds:,.0f} CPU-seconds{cached}"


def cache_log(work: Path) -> Path:
    """The file in which ccache logs its hits and misses for a build (ccache(1), ``stats_log``)."""
    return work / _CACHE


def add_step(work: Path, seconds: float, cpu_seconds: float) -> None:
    """Add the cost of one step."""
    with (work / _STEPS).open("a", encoding="utf-8") as file:
        file.write(json.dumps([round(seconds, 1), round(cpu_seconds, 1)]) + "\n")


def keep_cost(work: Path, folder: Path) -> None:
    """Write the cost of a build into the folder of its result."""
    steps = work / _STEPS
    taken = [json.loads(line) for line in steps.read_text().splitlines()] if steps.is_file() else []
    log = cache_log(work)
    counted = Counter(log.read_text(errors="replace").splitlines()) if log.is_file() else Counter[str]()
    cost = {
        "seconds": round(sum(step[0] for step in taken), 1),
        "cpu_seconds": round(sum(step[1] for step in taken), 1),
        "shared": sum(counted[name] for name in _HITS),
        "compiled": counted["cache_miss"],
    }
    (folder / _COST).write_text(json.dumps(cost, indent=1) + "\n", encoding="utf-8")


def read_cost(folder: Path) -> Cost | None:
    """Read what :func:`keep_cost` wrote; ``None`` without it."""
    path = folder / _COST
    return Cost(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _clock(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
