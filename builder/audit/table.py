"""Renders an audit report for the terminal: one line per check, with the reasons below failed ones."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from builder.audit.verdicts import AuditReport, Outcome, sized

_MARKS: dict[Outcome, tuple[str, str]] = {
    "pass": ("✓", "green"),
    "fail": ("✗", "bold red"),
    "not-applicable": ("·", "dim"),
}


def draw(report: AuditReport) -> RenderableType:
    """Return the report as a table, with the overall result below."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in report.verdicts:
        mark, style = _MARKS[verdict.outcome]
        first, _, rest = verdict.detail.partition("\n")
        detail = Text(first, style="dim" if verdict.outcome == "not-applicable" else "")
        if rest:
            detail.append(f"\n{rest}", style="dim")
        name_style = "dim" if verdict.outcome == "not-applicable" else "bold"
        table.add_row(Text(mark, style=style), Text(verdict.check, style=name_style), detail)
    head = Text.assemble(
        (report.filename, "bold"),
        (f"\nfor {report.target}, {sized(report.size)}, sha256 {report.sha256}\n", "dim"),
    )
    return Group(head, table, Text(), _judgement(report))


def _judgement(report: AuditReport) -> Text:
    failures = [verdict.check for verdict in report.verdicts if verdict.outcome == "fail"]
    if failures:
        return Text.assemble(("failed", "bold red"), f": {', '.join(failures)}")
    count = sum(verdict.outcome == "pass" for verdict in report.verdicts)
    silent = len(report.verdicts) - count
    return Text.assemble(("passed", "bold green"), f": {count} checks, {silent} not applicable")
