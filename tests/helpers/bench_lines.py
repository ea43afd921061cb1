"""A line that a bench script prints."""

from __future__ import annotations

from builder.bench.measure import Line


def bench_line(workload: str, state: str = "ran", **more: object) -> Line:
    return {"workload": workload, "state": state, **more}
