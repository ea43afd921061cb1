"""The page about a night. Pure. A report that does not have the builder's form is linked and not shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from index_server.pages.people import page_of, sized


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Row(_Lenient):
    build: str
    outcome: str
    filename: str | None = None
    sha256: str | None = None
    detail: str = ""
    size: int = 0
    size_before: int | None = None
    speed: float | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    shared: int = 0
    compiled: int = 0
    attempts: int = 1
    hosts: list[str] = []


class _Report(_Lenient):
    matrix: str
    channel: str
    snapshot: str | None
    sentence: str
    seconds: float
    before: str | None
    rows: list[_Row]


def nights_page(nights: Iterable[str]) -> bytes:
    """The list of nights."""
    items = [f'<li><a href="../{escape(night)}/page">{escape(night)}</a></li>' for night in nights]
    return page_of("Nights", ["<h1>Nights</h1>", '<ul class="plain">', *items, "</ul>"], "../../../")


def night_page(night: str, report: dict[str, Any]) -> bytes:
    """The report of a night: what it published, and each build with its log."""
    try:
        read = _Report.model_validate(report)
    except ValidationError:
        body = [
            "<p>This report does not have the builder's form. ",
            f'<a href="../{night}">It is here.</a></p>',
        ]
        return page_of(f"Night {night}", body, "../../../")
    return page_of(f"Night {night}", _body(night, read), "../../../")


def _body(night: str, report: _Report) -> Iterator[str]:
    made = sum(row.filename is not None for row in report.rows)
    minutes, seconds = divmod(round(report.seconds), 60)
    yield f"<h1>Night {escape(night)}</h1>"
    yield (
        f"<p>{made} of {len(report.rows)} wheels of matrix {escape(report.matrix)} "
        f"in {minutes} min {seconds:02} s; "
        f"{escape(report.channel)}: {escape(report.snapshot or 'no snapshot yet')} ({escape(report.sentence)})</p>"
    )
    before = (
        f'beside <a href="../{quote(report.before)}/page">{escape(report.before)}</a>'
        if report.before
        else "the first of this matrix and channel"
    )
    yield f'<p class="dim">{before} · <a href="../{night}">JSON</a> · <a href="../all/page">all nights</a></p>'
    failed = [row for row in report.rows if row.filename is None]
    for row in failed:
        yield f'<h2 class="bad">{escape(row.build)}: {escape(row.outcome)}</h2><pre>{escape(row.detail)}</pre>'
    yield '<h2>Builds</h2><div class="wide"><table><tr><th>build</th><th>outcome</th><th>size</th>'
    yield "<th>instructions beside the published wheel</th><th>seconds</th><th>CPU-seconds</th>"
    yield "<th>units from the cache</th><th>log</th></tr>"
    for row in report.rows:
        yield _row(night, row)
    yield "</table></div>"


def _row(night: str, row: _Row) -> str:
    build = escape(row.build)
    name = f'<a href="../../wheels/{quote(row.sha256)}">{build}</a>' if row.sha256 else build
    grown = row.size - row.size_before if row.size and row.size_before else 0
    size = (sized(row.size) if row.size else "") + (f" ({grown:+,} bytes)" if grown else "")
    speed = f"at most {row.speed:.3f} times" if row.speed is not None else ""
    units = f"{row.shared} of {row.shared + row.compiled}" if row.shared + row.compiled else ""
    again = f", attempt {row.attempts}" if row.attempts > 1 else ""
    log = f'<a href="../../logs/{quote(row.build)}/{night}">log</a>' if row.hosts else ""
    cells = (
        name,
        escape(row.outcome) + again,
        size,
        speed,
        f"{row.seconds:.0f}",
        f"{row.cpu_seconds:.0f}",
        units,
        log,
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
