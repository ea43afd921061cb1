"""Judges a wheel by its counts beside those of other wheels. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from builder.bench.model import BenchReport, BenchVerdict, Comparison, Measured, Row
from builder.model.recipe import Slower

LIMIT = 1.02
"""Instructions of a workload, divided by those of the other wheel, above which the wheel is worse."""


def judge(
    sha256: str, target: str, reports: Sequence[BenchReport], allow: Sequence[Slower], note: str = ""
) -> BenchVerdict:
    """Judge a wheel by reports that each have another wheel first and this one second."""
    faults: list[str] = []
    allowed: dict[str, str] = {}
    comparisons = []
    for report in reports:
        other, wheel = report.measured
        ratios: dict[str, float] = {}
        for row in wheel.rows:
            beside = other.row(row.workload)
            if _comparable(row, beside) and row.count and beside is not None and beside.count:
                ratios[row.workload] = row.count / beside.count
            exception = next((one for one in allow if _names(one, row.workload, target)), None)
            found = list(_faults(row, beside, other, exception.limit if exception else LIMIT))
            faults += found
            if exception and not found and any(_faults(row, beside, other, LIMIT)):
                allowed[row.workload] = exception.why
        facts = other.wheel
        comparisons.append(
            Comparison(against=facts.label, filename=facts.filename, sha256=facts.sha256, ratios=ratios)
        )
    faults += _unknown(allow, reports)
    return BenchVerdict(
        sha256=sha256,
        passed=not faults,
        limit=LIMIT,
        note=note,
        faults=tuple(dict.fromkeys(faults)),
        allowed=allowed,
        comparisons=tuple(comparisons),
        reports=tuple(reports),
    )


def _comparable(row: Row, other: Row | None) -> bool:
    return row.state == "ran" and other is not None and other.state == "ran"


def _faults(row: Row, beside: Row | None, other: Measured, limit: float) -> Iterator[str]:
    """Yield what is wrong with a workload. Where calls differ, this one's lowest count meets the highest there."""
    if row.state in ("failed", "died"):
        yield f"{row.workload} {row.state}: {row.detail}"
    elif row.state == "unavailable" and beside is not None and beside.state == "ran":
        yield f"{row.workload} is missing, and {other.wheel.label} has it: {row.detail}"
    elif row.count and beside is not None and row.count > limit * max(beside.instructions, default=row.count):
        ratio = row.count / max(beside.instructions)
        fault = f"{row.workload} takes {ratio:.3f} times the instructions of {other.wheel.label}"
        if row.cycles and beside.cycles and beside.cycles.estimated:
            fault += (
                f", and an estimated {row.cycles.estimated / beside.cycles.estimated:.2f} times its cycles"
            )
        yield fault


def _names(allowed: Slower, workload: str, target: str) -> bool:
    return fnmatchcase(workload, allowed.workload) and (not allowed.targets or target in allowed.targets)


def _unknown(allow: Sequence[Slower], reports: Sequence[BenchReport]) -> Iterator[str]:
    """Yield a fault for each exception that names no workload: a rename would switch it off unseen."""
    names = {row.workload for report in reports for wheel in report.measured for row in wheel.rows}
    for one in allow if names else ():
        if not any(fnmatchcase(name, one.workload) for name in names):
            yield f"the recipe allows {one.workload} to be slower, but there is no such workload"
