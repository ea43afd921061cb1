"""The page about one file: its evidence, and its measurements beside those of other wheels. Pure.

Evidence is what a client sent. A report that does not have the builder's form is linked and not shown.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from index_server.model import Record
from index_server.pages.chart import ratio_chart
from index_server.pages.contents import Contents, sections
from index_server.pages.measured import LEAST_SHOWN, Lenient, Report, Row, Verdict, read_as
from index_server.pages.people import page_of, sized
from index_server.pages.simple import file_url

STATEMENT = "statement-"  # begins the kinds of evidence that are signed statements
_ABOUT = {
    "instructions": "Counted under emulation. They show which code ran. They are not time: a loop can take more of "
    "them and run faster.",
    "estimated cycles": "Simulated with a scheduling model of the core, as if every load hit the first-level cache "
    "and every branch were predicted. They are not time.",
    "seconds": "Measured on a real machine: one call with one thread, the best of several.",
}


class _Signature(Lenient):
    keyid: str


class _Predicate(Lenient):
    result: str = ""


class _Statement(Lenient):
    predicateType: str  # noqa: N815 - as in-toto spells it
    predicate: _Predicate


class _Envelope(Lenient):
    payload: str
    signatures: list[_Signature]

    @property
    def says(self) -> str:
        """What the statement says in a word: the result of a check, else its predicate type."""
        try:
            statement = _Statement.model_validate_json(base64.b64decode(self.payload))
        except ValueError:  # also of pydantic and base64
            return "not readable"
        return statement.predicate.result.lower() or statement.predicateType

    @property
    def keyids(self) -> str:
        return ", ".join(signature.keyid[:8] for signature in self.signatures)


class _Column(NamedTuple):
    """One quantity of a report: its heading, how a row has it, how it is shown, and where it is from."""

    quantity: str
    report: Report
    value: Callable[[Row], float | None]
    shown: Callable[[float], str]
    source: str
    scaling: str | None = None
    """The highest number of threads, where the quantity was measured with several."""


def wheel_page(
    filename: str,
    sha256: str,
    evidence: Mapping[str, object],
    record: Record | None = None,
    *,
    until: str = "",
    contents: Contents | None = None,
) -> bytes:
    """The page of a file. ``evidence`` has the newest body of each kind, ``record`` what the index knows of it.

    ``until`` is the day until which the file is kept at least, or ``forever``; empty without a promise.
    ``contents`` is what the wheel says of itself.
    """
    body = [f"<h1>{escape(filename)}</h1>", f"<p class=dim>sha256 {escape(sha256)}</p>"]
    if record is not None:
        body += _facts(record, until)
    reports = {kind: report for kind, report in evidence.items() if not kind.startswith(STATEMENT)}
    body += ["<h2>Evidence</h2>", "<table>", *_kinds(sha256, reports), "</table>"]
    if not evidence:
        body.append("<p>There is no evidence about this file.</p>")
    body += _statements(sha256, {kind: evidence[kind] for kind in evidence if kind not in reports})
    verdict = read_as(Verdict, evidence.get("bench"))
    if verdict is not None:
        body += _verdict(verdict)
    # Counts that were sent beside the builder's are shown where it has none of that machine.
    counts, times = _reports(evidence, "bench-instructions"), _reports(evidence, "bench-time")
    judged = list(verdict.reports) if verdict is not None else []
    known = {(_against(report), report.machine.server) for report in judged}
    counts = [report for report in counts if (_against(report), report.machine.server) not in known]
    body += _tables([*judged, *counts, *times], verdict.limit if verdict is not None else None)
    body += _unreadable(evidence)
    if contents is not None:
        body += sections(contents)
    return page_of(filename, body, root="../../")


def _facts(record: Record, until: str) -> Iterator[str]:
    """What the index knows of a file, and where to get it."""
    tuned = record.tuned
    rows = [
        ("project", f'<a href="../../search/?q={escape(record.project)}">{escape(record.name)}</a>'),
        ("version", escape(record.version)),
        ("Python, ABI, platform", escape(f"{record.python_tag}, {record.abi_tag}, {record.platform_tag}")),
        ("target", escape(tuned.target) if tuned else "every CPU"),
        *([("backend", escape(tuned.backend))] if tuned else []),
        ("size", sized(record.size)),
        ("uploaded", f"{escape(record.uploaded_at[:16].replace('T', ' '))} by {escape(record.uploaded_by)}"),
        ("kept until", escape(until) or "no promise covers it"),
        ("file", f'<a href="{file_url(record, "../../")}">download</a>, '
         f'<a href="{file_url(record, "../../")}.metadata">its metadata</a>'),
    ]  # fmt: skip
    yield "<table>"
    yield from (f"<tr><th scope=row>{name}</th><td>{value}</td></tr>" for name, value in rows)
    yield "</table>"


def _kinds(sha256: str, evidence: Mapping[str, object]) -> Iterator[str]:
    for kind in sorted(evidence):
        report = evidence[kind]
        outcome = report.get("passed") if isinstance(report, dict) else None
        word = "passed" if outcome is True else "failed" if outcome is False else "no verdict"
        link = f'<a href="../evidence/{escape(sha256)}/{escape(kind)}">{escape(kind)}</a>'
        yield f"<tr><td>{link}</td><td>{word}</td></tr>"


def _statements(sha256: str, envelopes: Mapping[str, object]) -> Iterator[str]:
    """The signed statements (in-toto, DSSE) that were sent. Whether they hold, a client must find out."""
    if not envelopes:
        return
    yield "<h2>Signed statements</h2>"
    yield "<table><tr><th>about</th><th>says</th><th>signed with key</th></tr>"
    for kind in sorted(envelopes):
        envelope = read_as(_Envelope, envelopes[kind])
        says, keyids = ("not readable", "") if envelope is None else (envelope.says, envelope.keyids)
        name = escape(kind.removeprefix(STATEMENT))
        link = f'<a href="../evidence/{escape(sha256)}/{escape(kind)}">{name}</a>'
        yield f"<tr><td>{link}</td><td>{escape(says)}</td><td><code>{escape(keyids)}</code></td></tr>"
    yield "</table>"
    yield (
        "<p class=dim>This page does not check signatures. <code>armwheels-verify</code> does, with a root that "
        "you trust.</p>"
    )


def _reports(evidence: Mapping[str, object], prefix: str) -> list[Report]:
    """The reports of a kind and of those that add a machine to its name, such as ``bench-time-neoverse-v1``."""
    found = (read_as(Report, evidence[kind]) for kind in sorted(evidence) if _is_of(kind, prefix))
    return [report for report in found if report is not None]


def _is_of(kind: str, prefix: str) -> bool:
    return kind == prefix or kind.startswith(f"{prefix}-")


def _unreadable(evidence: Mapping[str, object]) -> Iterator[str]:
    for kind, body in sorted(evidence.items()):
        model = Verdict if kind == "bench" else Report if _is_of(kind, "bench-instructions") else None
        model = Report if _is_of(kind, "bench-time") else model
        if model is not None and read_as(model, body) is None:
            yield f"<p>The report {escape(kind)} is not in a form that can be shown.</p>"


def _verdict(verdict: Verdict) -> Iterator[str]:
    """The verdict of the builder."""
    yield "<h2>Verdict of bench</h2>"
    word = "Passed" if verdict.passed else "Failed"
    yield (
        f"<p><strong>{word}.</strong> No workload may take more than {verdict.limit:.2f} times the instructions "
        "of the other wheel.</p>"
    )
    if verdict.note:
        yield f"<p>{escape(verdict.note)}</p>"
    yield from _list(verdict.faults)
    yield from _list(f"{name}: {why}" for name, why in verdict.allowed.items())


def _against(report: Report) -> str:
    return report.other.wheel.filename if report.other is not None else ""


def _tables(reports: Iterable[Report], limit: float | None) -> Iterator[str]:
    """One table for each other wheel. Quantities stand side by side, and each ratio is of one quantity alone."""
    groups: dict[str, list[Report]] = {}
    for report in reports:
        groups.setdefault(_against(report), []).append(report)
    for filename, group in groups.items():
        label = group[0].other.wheel.label if group[0].other is not None else ""
        title = f"Beside {label}" if filename else "Beside no other wheel"
        yield f"<h2>{escape(title)}</h2>"
        if filename:
            yield f"<p class=dim>{escape(filename)}</p>"
            yield from _charts(group, label, limit)
        yield from _table([column for report in group for column in _columns(report)], limit)


def _charts(group: Iterable[Report], label: str, limit: float | None) -> Iterator[str]:
    """A chart of the instructions of each emulated machine."""
    for report in group:
        if report.machine.emulator is None or report.other is None:
            continue
        others = {row.workload: row.count for row in report.other.rows if row.state == "ran"}
        ratios = [
            (row.workload, row.count / other)
            for row in report.own.rows
            if row.state == "ran" and row.count is not None and (other := others.get(row.workload))
        ]
        if ratios:
            title = f"Instructions of this wheel as a ratio to those of {label}: lower is better"
            yield f"<p>{escape(title)}</p>"
            yield ratio_chart(title, ratios, good=LEAST_SHOWN, limit=limit or math.inf)


def _columns(report: Report) -> Iterator[_Column]:
    machine = report.machine
    if machine.emulator is None:
        source = ", ".join(filter(None, (machine.target, machine.cpu, machine.system)))
        most = str(max(machine.threads, default=1))
        scaling = most if most != "1" else None
        yield _Column("seconds", report, Row.time, _short_seconds, source, scaling)
        return
    source = f"{machine.server or machine.target}: {machine.cpu}, {machine.emulator}"
    yield _Column("instructions", report, lambda row: row.count, _short, source)
    if machine.core is not None and any(row.cycles is not None for row in report.own.rows):
        yield _Column("estimated cycles", report, lambda row: row.estimate, _short, machine.core)


def _table(columns: Sequence[_Column], limit: float | None) -> Iterator[str]:
    yield "<div class=wide tabindex=0><table class=numbers>"
    heads = "".join(f"<th colspan={_width(column)}>{column.quantity}</th>" for column in columns)
    yield f"<tr><td></td>{heads}</tr>"
    labels = "".join(f"<th>{label}</th>" for column in columns for label in _labels(column))
    yield f"<tr><th>workload</th>{labels}</tr>"
    names = dict.fromkeys(row.workload for column in columns for row in column.report.own.rows)
    tables = [
        [{row.workload: row for row in side.rows} for side in column.report.measured] for column in columns
    ]
    for name in names:
        cells = [
            cell
            for column, sides in zip(columns, tables, strict=True)
            for cell in _cells(column, [side.get(name) for side in sides], limit)
        ]
        yield f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table></div>"
    yield "<ul class=plain>"
    for column in columns:
        about = _ABOUT[column.quantity]
        yield f"<li><strong>{column.quantity}</strong> ({escape(column.source)}): {about}</li>"
    yield "</ul>"


def _short(value: float) -> str:
    """Three digits, with a prefix of the SI."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{_three(value / size)} {prefix}"
    return _three(value)


def _short_seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{_three(value / 1e-6)} µs"


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _width(column: _Column) -> int:
    return len(_labels(column))


def _labels(column: _Column) -> list[str]:
    other = column.report.other
    labels = ["this wheel"] if other is None else [escape(other.wheel.label), "this wheel", "ratio"]
    if column.scaling is not None:
        labels.append(f"{column.scaling} threads")
    return labels


def _cells(column: _Column, rows: Sequence[Row | None], limit: float | None) -> Iterator[str]:
    values = [column.value(row) if row is not None and row.state == "ran" else None for row in rows]
    for value in values:
        yield "-" if value is None else column.shown(value)
    if column.report.other is not None:
        yield _ratio(values, limit if column.quantity == "instructions" else None)
    if column.scaling is not None:
        own, one = rows[-1], values[-1]
        most = own.time(column.scaling) if own is not None else None
        yield f"{one / most:.1f} times" if one and most else "-"


def _ratio(values: Sequence[float | None], limit: float | None) -> str:
    other, own = values
    if not other or own is None:
        return ""
    ratio = own / other
    worse = limit is not None and ratio > limit
    style = ' class="worse"' if worse else ' class="better"' if ratio < LEAST_SHOWN else ""
    return f"<span{style}>{ratio:.3f}</span>"


def _list(items: Iterable[str]) -> Iterator[str]:
    found = [f"<li>{escape(item)}</li>" for item in items]
    if found:
        yield f'<ul class="plain">{"".join(found)}</ul>'
