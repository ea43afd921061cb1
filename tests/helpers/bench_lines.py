"""A line that a bench script says."""

from __future__ import annotations

from builder.bench.measure import Line


def said(workload: str, state: str = "ran", **more: object) -> Line:
    return {"workload": workload, "state": state, **more}
