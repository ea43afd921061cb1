"""The report of a night: its builds beside those of the night before, as JSON and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from builder.fleet.model import Night, Result
from builder.model.base import Frozen

FORMAT = 1


class Row(Frozen):
    """One build. Sizes are in bytes; ``speed`` is a ratio of instructions to the wheel that the channel had."""

    build: str
    outcome: str
    required: bool
    filename: str | None
    sha256: str | None
    detail: str
    size: int
    size_before: int | None
    speed: float | None
    seconds: float
    cpu_seconds: float
    shared: int
    compiled: int
    attempts: int
    hosts: tuple[str, ...]
    stages: dict[str, float]


class Report(Frozen):
    """A night, and the one ``before`` with which it is compared."""

    format: int = FORMAT
    night: str
    matrix: str
    channel: str
    snapshot: str | None
    moved: bool
    sentence: str
    seconds: float
    before: str | None
    rows: tuple[Row, ...]


def compose(night: Night, seconds: float, before: Mapping[str, Any] | None) -> Report:
    """The report of a night; ``before`` is the last report of the same matrix and channel."""
    sizes = {
        str(row["build"]): int(row["size"] or row.get("size_before") or 0)
        for row in (before or {}).get("rows", ())
    }
    return Report(
        night=night.night,
        matrix=night.matrix,
        channel=night.channel,
        snapshot=night.published.snapshot,
        moved=night.published.moved,
        sentence=night.published.detail,
        seconds=round(seconds, 1),
        before=str(before["night"]) if before else None,
        rows=tuple(_row(result, sizes.get(result.build)) for result in night.results),
    )


def _row(result: Result, size_before: int | None) -> Row:
    return Row(
        build=result.build,
        outcome=result.outcome,
        required=result.required,
        filename=result.filename,
        sha256=result.sha256,
        detail=result.detail,
        size=result.size,
        size_before=size_before or None,
        speed=result.speed,
        seconds=round(sum(stage.seconds for stage in result.stages), 1),
        cpu_seconds=result.cpu_seconds,
        shared=result.shared,
        compiled=result.compiled,
        attempts=result.attempts,
        hosts=tuple(dict.fromkeys(stage.host for stage in result.stages)),
        stages={stage.name: stage.seconds for stage in result.stages},
    )


def markdown(report: Report) -> str:
    """The report for a mail or a chat: what failed first, with its reasons, then each build in a table."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    missing = [row for row in report.rows if row.filename is None]
    minutes, seconds = divmod(round(report.seconds), 60)
    yield f"# Night {report.night}: {len(report.rows) - len(missing)} of {len(report.rows)} wheels"
    yield ""
    yield f"Matrix {report.matrix}, {minutes} min {seconds:02} s. {report.channel}: {report.sentence}."
    if report.before:
        yield f"Sizes are compared with the night {report.before}."
    for row in missing:
        yield from (
            "",
            f"## {row.outcome}: {row.build}",
            "",
            *(f"    {line}" for line in row.detail.splitlines()),
        )
    yield from (
        "",
        "| build | outcome | size | instructions | seconds | CPU-seconds | units from the cache |",
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in report.rows:
        yield f"| {' | '.join(_cells(row))} |"


def _cells(row: Row) -> Iterable[str]:
    yield row.build
    yield row.outcome + (f" (attempt {row.attempts})" if row.attempts > 1 else "")
    grown = row.size - row.size_before if row.size and row.size_before else 0
    yield (f"{row.size / 1e6:.1f} MB" if row.size else "") + (f" ({grown:+,} bytes)" if grown else "")
    yield f"at most {row.speed:.3f} times" if row.speed is not None else ""
    yield f"{row.seconds:.0f}"
    yield f"{row.cpu_seconds:.0f}" if row.cpu_seconds else ""
    units = row.shared + row.compiled
    yield f"{row.shared} of {units}" if units else ""
