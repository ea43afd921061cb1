"""Terminal output: a live line for each build, and tables of plans, runs and results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from builder.bench import table
from builder.bench.model import BenchVerdict
from builder.compile import FINISHED
from builder.emulation.verify import Check, VerifyReport
from builder.fleet.estimate import Estimate
from builder.model.build import Build
from builder.nightly import Cell, NightlyReport
from builder.plan import State, Step

_STATE_STYLES = {
    State.NEW: "bold yellow",
    State.COMPILED: "cyan",
    State.BUILT: "cyan",
    State.PUBLISHED: "green",
}
_OUTCOME_STYLES = {"pass": "green", "fail": "bold red", "recorded": "dim"}


class Live:
    """A live progress line on a terminal; in a pipe or a file, one plain line for each stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[build]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )

    @contextmanager
    def __call__(self) -> Iterator[Live]:
        if self._console.is_terminal:
            with self._progress:
                yield self
        else:
            yield self

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(f"[dim]{escape(text)}[/]", highlight=False, soft_wrap=True)

    def for_build(self, build: Build) -> _BuildProgress:
        """The progress callback for one build."""
        return _BuildProgress(self._progress, self._console, build.id)


class _BuildProgress:
    def __init__(self, progress: Progress, console: Console, build: str) -> None:
        self._progress = progress
        self._console = console
        self._build = build
        self._stage = ""
        self._reported_at = time.monotonic()
        self._task = progress.add_task("", build=build, total=None, visible=False)

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._console.is_terminal:
            self._progress.update(
                self._task,
                description=what,
                completed=done,
                total=total or None,
                visible=what != FINISHED,
            )
            return
        if what == FINISHED:
            return
        now = time.monotonic()
        if what != self._stage or (total and now - self._reported_at > 30):
            count = f" {done}/{total}" if total else ""
            self._console.print(
                f"{self._build}: {what}{count}", highlight=False, markup=False, soft_wrap=True
            )
            self._stage, self._reported_at = what, now


def plan_table(steps: tuple[Step, ...], notes: Mapping[str, str] | None = None) -> RenderableType:
    """The state of each build with its reason, and the note about it, if any."""
    lines = [Text("plan", style="bold")]
    for step in steps:
        head = Text.assemble((f"{step.state.value:10}", _STATE_STYLES[step.state]), (step.build.id, "bold"))
        digests = f"compile {step.build.compile_digest[:8]}  wheel {step.build.wheel_digest[:8]}"
        head.append(f"  {step.build.identifier}", style="dim")
        lines += [head, Text(f"          {digests}  {step.why}", style="dim")]
        lines += [Text(note) for note in [(notes or {}).get(step.build.id)] if note]
    return Group(*lines)


def estimate_table(matrix: str, found: Estimate, cores: int) -> RenderableType:
    """The estimate of a night: each build, the sums in core-hours, and the time on some numbers of hosts."""
    rows = Table(box=None, pad_edge=False)
    for heading in ("build", "cold, CPU-s", "shared, CPU-s", "proof, s", "measured"):
        rows.add_column(heading, justify="left" if heading in ("build", "measured") else "right")
    for cost in found.costs:
        rows.add_row(cost.build, f"{cost.cold:,.0f}", f"{cost.warm:,.0f}", f"{cost.proof:,.0f}", cost.basis)
    lines: list[RenderableType] = [
        rows,
        Text(""),
        Text(
            f"matrix {matrix}, {len(found.costs)} builds: {found.cold / 3600:,.2f} core-hours cold, "
            f"{found.warm / 3600:,.2f} with what its targets share"
        ),
    ]
    if found.unchanged_seconds is not None:
        seconds = found.unchanged_seconds * len(found.costs)
        lines.append(Text(f"unchanged: {seconds:,.0f} s, of {found.unchanged_seconds:.1f} s for each build"))
    for hosts in (1, 4, 16):
        hours = found.wall(hosts, cores) / 3600
        lines.append(Text(f"hosts of {cores} cores: {hosts}, {hours:,.2f} h"))
    lines += [Text(f"unknown, no night built one yet: {build}", style="yellow") for build in found.unknown]
    return Group(*lines)


def cell_line(cell: Cell) -> RenderableType:
    """One line about a finished build, with the reason below if there is no wheel."""
    style = "bold red" if cell.missing else "green"
    head = Text.assemble((f"{cell.outcome:17}", style), (cell.build.id, "bold"))
    if (proof := cell.proof) is not None and not cell.missing:
        head.append(f"  {proof.size / 1e6:.1f} MB, lesser CPU: ", style="dim")
        head.append(proof.lesser, style="cyan")
        if proof.bench:
            head.append(f", {proof.bench}", style="dim")
    if not cell.detail:
        return head
    return Group(head, Text("    " + cell.detail.replace("\n", "\n    "), style="dim"))


def nightly_table(report: NightlyReport, url: str | None) -> RenderableType:
    """The summary of a run: wheels made, wheels missing, and the channel's snapshot."""
    made = len(report.cells) - len(report.missing)
    minutes, seconds = divmod(round(report.seconds), 60)
    lines: list[RenderableType] = [
        Text(""),
        Text.assemble(
            (f"{made} of {len(report.cells)} wheels", "bold green" if not report.missing else "bold yellow"),
            f" of matrix {report.matrix} in {minutes} min {seconds:02} s",
        ),
        Text.assemble(
            f"{report.channel}: ", (report.snapshot or "no snapshot yet", "bold"), f" ({report.detail})"
        ),
    ]
    for cell in report.missing:
        first = cell.detail.splitlines()[0] if cell.detail else "no reason was given"
        lines.append(Text.assemble(("missing ", "bold red"), cell.build.id, f": {first}"))
    if url:
        lines.append(Text(f"published to {url}", style="dim"))
    return Group(*lines)


def checks_table(checks: Iterable[Check]) -> Table:
    """The checks with outcome, seconds and detail."""
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "outcome", "seconds", "detail"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for check in checks:
        table.add_row(
            check.name,
            Text(check.outcome, style=_OUTCOME_STYLES[check.outcome]),
            f"{check.seconds:.1f}",
            check.detail,
        )
    return table


def verify_table(report: VerifyReport) -> RenderableType:
    """The results of running a wheel under emulation."""
    # A title of the table would be broken at the table's width, also in a file.
    title = Text(f"{report.filename} on {report.cpu}", style="italic")
    checks = checks_table(report.checks)
    lesser = report.lesser
    where = f"on {lesser.target} ({lesser.cpu})" if lesser.outcome != "no-model" else "on a lesser CPU"
    checks.add_row(where, Text(lesser.outcome, style="cyan"), "", lesser.detail)
    return Group(title, checks, Text(f"{report.emulator}: {report.cpu_note}", style="dim"))


def bench_table(verdict: BenchVerdict) -> RenderableType:
    """The counts beside those of each other wheel, and the verdict."""
    parts: list[RenderableType] = [table.draw(report) for report in verdict.reports]
    parts.append(Text(verdict.sentence))
    parts += [Text(f"allowed, {name}: {why}", style="dim") for name, why in verdict.allowed.items()]
    return Group(*parts)
