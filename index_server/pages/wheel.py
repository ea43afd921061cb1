"""The page about one file: its evidence, and its measurements beside those of other wheels. Pure.

Evidence is what a client sent. A report that does not have the builder's form is linked and not shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index_server.pages.people import page_of

LEAST_SHOWN = 0.98  # a ratio between this and the limit is neither better nor worse
_INSTRUCTIONS = (
    "Instructions of one warm call, counted under emulation. They show which code ran. They are not time: "
    "a loop can take more of them and run faster."
)
_TIMES = "Seconds of one call on a real machine with one thread, the best of several."


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Row(_Lenient):
    workload: str
    state: str
    instructions: list[int] = []
    seconds: dict[str, list[float]] = {}

    @property
    def count(self) -> float | None:
        return min(self.instructions, default=None) if self.state == "ran" else None

    @property
    def time(self) -> float | None:
        return min(self.seconds.get("1", []), default=None) if self.state == "ran" else None


class _Wheel(_Lenient):
    label: str
    filename: str


class _Measured(_Lenient):
    wheel: _Wheel
    rows: list[_Row]


class _Machine(_Lenient):
    target: str
    server: str | None = None
    cpu: str = ""
    emulator: str | None = None
    system: str = ""


class _Report(_Lenient):
    machine: _Machine
    measured: list[_Measured] = Field(min_length=1, max_length=2)


class _Verdict(_Lenient):
    passed: bool
    limit: float
    note: str
    faults: list[str]
    allowed: dict[str, str]
    reports: list[_Report]


def wheel_page(filename: str, sha256: str, evidence: Mapping[str, object]) -> bytes:
    """The page of a file. ``evidence`` has the newest body of each kind."""
    body = [f"<h1>{escape(filename)}</h1>", f"<p class=dim>sha256 {escape(sha256)}</p>"]
    body += ["<h2>Evidence</h2>", "<table>", *_kinds(sha256, evidence), "</table>"]
    if not evidence:
        body.append("<p>There is no evidence about this file.</p>")
    body += _verdict(evidence.get("bench"))
    body += _reports("Counted", evidence.get("bench-instructions"))
    body += _reports("Measured on a real machine", evidence.get("bench-time"))
    return page_of(filename, body)


def _kinds(sha256: str, evidence: Mapping[str, object]) -> Iterator[str]:
    for kind in sorted(evidence):
        report = evidence[kind]
        outcome = report.get("passed") if isinstance(report, dict) else None
        word = "passed" if outcome is True else "failed" if outcome is False else "no verdict"
        link = f'<a href="../evidence/{escape(sha256)}/{escape(kind)}">{escape(kind)}</a>'
        yield f"<tr><td>{link}</td><td>{word}</td></tr>"


def _verdict(body: object) -> Iterator[str]:
    """The verdict of the builder, with the counts beside each other wheel."""
    if body is None:
        return
    yield "<h2>Beside other wheels</h2>"
    try:
        verdict = _Verdict.model_validate(body)
    except ValidationError:
        yield "<p>The report is not in a form that can be shown.</p>"
        return
    word = "Passed" if verdict.passed else "Failed"
    yield (
        f"<p><strong>{word}.</strong> No workload may take more than {verdict.limit:.2f} times the instructions "
        "of the other wheel.</p>"
    )
    if verdict.note:
        yield f"<p>{escape(verdict.note)}</p>"
    yield from _list(verdict.faults)
    yield from _list(f"{name}: {why}" for name, why in verdict.allowed.items())
    for report in verdict.reports:
        yield from _table(report, verdict.limit)


def _reports(title: str, body: object) -> Iterator[str]:
    """One report without a verdict."""
    if body is None:
        return
    yield f"<h2>{title}</h2>"
    try:
        yield from _table(_Report.model_validate(body), None)
    except ValidationError:
        yield "<p>The report is not in a form that can be shown.</p>"


def _table(report: _Report, limit: float | None) -> Iterator[str]:
    machine = report.machine
    counted = machine.emulator is not None
    where = (
        f"as {machine.server or machine.target} ({machine.cpu}, {machine.emulator})"
        if counted
        else machine.target
    )
    yield f"<p class=dim>{escape(where)}. {_INSTRUCTIONS if counted else _TIMES}</p>"
    labels = "".join(f"<th>{escape(one.wheel.label)}</th>" for one in report.measured)
    pair = len(report.measured) == 2
    yield f"<table><tr><th>workload</th>{labels}{'<th>ratio</th>' * pair}</tr>"
    rows = [{row.workload: row for row in one.rows} for one in report.measured]
    for name in rows[-1]:
        values = [_value(side.get(name), counted=counted) for side in rows]
        cells = "".join(f"<td>{_shown(value, counted=counted)}</td>" for value in values)
        ratio = f"<td>{_ratio(values, limit)}</td>" if pair else ""
        yield f"<tr><td>{escape(name)}</td>{cells}{ratio}</tr>"
    yield "</table>"


def _value(row: _Row | None, *, counted: bool) -> float | None:
    if row is None:
        return None
    return row.count if counted else row.time


def _shown(value: float | None, *, counted: bool) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if counted else f"{value:.3g} s"


def _ratio(values: Sequence[float | None], limit: float | None) -> str:
    other, own = values
    if not other or own is None:
        return ""
    ratio = own / other
    worse = limit is not None and ratio > limit
    style = ' class="worse"' if worse else ' class="better"' if ratio < LEAST_SHOWN else ""
    return f"<span{style}>{ratio:.3f}</span>"


def _list(items: Iterator[str] | Sequence[str]) -> Iterator[str]:
    found = [f"<li>{escape(item)}</li>" for item in items]
    if found:
        yield f'<ul class="plain">{"".join(found)}</ul>'
