"""Renders a bench report: as tables for the terminal, and as plain text to paste into an issue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from builder.bench.model import IMPORT, BenchReport, Machine, Measured, Row

COUNTS_PROVE = (
    "These are instructions and estimated cycles, not time. A count is reproducible. It shows which code ran (SVE, "
    "NEON, dot products, or none of them) and how much overhead it has. The cycles are those of a core that never "
    "waits: pipes, latencies and dependences are simulated, while every load hits the first-level cache and every "
    "branch is predicted. The same command measures time on an Arm machine."
)
TIMES_PROVE = (
    "Seconds per call, the best of several. A median far above it shows that the machine had other load. The "
    "results are valid for this machine, this number of threads and these sizes."
)
_NOISE = 0.001  # relative; larger differences between calls have a cause, such as random pivots
_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def draw(report: BenchReport) -> RenderableType:
    """Return one table per wheel, which compares it with the reference if there is one."""
    emulated = report.machine.emulator is not None
    parts: list[RenderableType] = [Text(f"{report.project} {report.version} for {report.python}", "bold")]
    parts += [Text(line, "dim") for line in machine_lines(report.machine)]
    parts.append(Text(report.reference_note, "dim"))
    for reference, wheel in report.pairs:
        parts += [Text(), _table(report, reference, wheel)]
        parts += [Text(line, "dim") for line in _footnotes(reference, wheel)]
    parts += [Text(), Text(COUNTS_PROVE if emulated else TIMES_PROVE, "italic")]
    return Group(*parts)


def machine_lines(machine: Machine) -> list[str]:
    """Return a description of the machine, a few lines."""
    if machine.emulator is None:
        cores = machine.threads[-1]
        return [f"{machine.target} ({machine.cpu}), {cores} cores, {machine.system}", machine.note]
    vectors = f"{machine.vector_bits}-bit SVE" if machine.vector_bits else "no SVE"
    lines = [
        f"as {machine.server} ({machine.target}): {machine.emulator}, -cpu {machine.cpu} ({vectors}), one thread",
        machine.note,
    ]
    return [*lines, f"cycles are estimated with {machine.core}"] if machine.core else lines


def _table(report: BenchReport, reference: Measured | None, wheel: Measured) -> Table:
    table = Table(box=None, pad_edge=False)
    emulated = report.machine.emulator is not None
    estimated = report.machine.core is not None
    columns = [side for side in (reference, wheel) if side is not None]
    table.add_column("", no_wrap=True)

    def head(text: str, unit: str) -> Text:
        return Text(text, "bold") + Text(f"\n{unit}" if estimated else "", "not bold dim")

    for side in columns:
        table.add_column(head(side.wheel.label, "instructions"), justify="right", no_wrap=True)
        table.add_column("vector %" if emulated else "median", style="dim", no_wrap=not emulated)
    if reference is not None:
        table.add_column(head("ratio", "instructions"), justify="right", no_wrap=True)
    for side in columns if estimated else ():
        table.add_column(head(side.wheel.label, "est. cycles"), justify="right", no_wrap=True)
    if reference is not None and estimated:
        table.add_column(head("ratio", "est. cycles"), justify="right", no_wrap=True)
    if not emulated:
        for threads in report.machine.threads[1:]:
            table.add_column(f"x{threads}", justify="right", style="dim", no_wrap=True)

    def add(
        name: str,
        cells: list[tuple[RenderableType, RenderableType]],
        ratio: Text,
        more: Sequence[RenderableType],
    ) -> None:
        flat = [part for cell in cells for part in cell]
        table.add_row(name, *flat, *([ratio] if reference is not None else []), *more)

    def plain(name: str, value: Callable[[Measured], float], shown: Callable[[float], str]) -> None:
        values = [value(side) for side in columns]
        add(name, [(shown(one), "") for one in values], ratio_text(*values), [])

    plain("wheel", lambda side: side.wheel.bytes, _megabytes)
    plain("unpacked", lambda side: side.wheel.unpacked_bytes, _megabytes)
    plain("shared libraries", lambda side: len(side.wheel.libraries), lambda n: f"{n:.0f}")
    for name in (IMPORT, *(workload.name for workload in report.workloads)):
        rows = [side.row(name) for side in columns]
        values = [_value(row, emulated) for row in rows]
        ratio = ratio_text(*values) if None not in values else Text()
        more = _cycle_cells(rows) if estimated else []
        more += [] if emulated else scaling_cells(rows[-1], report.machine.threads)
        title = f"import {report.project}" if name == IMPORT else name
        add(title, [_cells(row, emulated) for row in rows], ratio, more)
    return table


def _cycle_cells(rows: Sequence[Row | None]) -> list[RenderableType]:
    """Return the estimated cycles of each wheel, and their ratio if there are two wheels."""
    values = [row.cycles.estimated if row is not None and row.cycles is not None else None for row in rows]
    cells: list[RenderableType] = ["" if value is None else short(value) for value in values]
    if len(values) == 2:
        cells.append(ratio_text(*values))
    return cells


def _value(row: Row | None, emulated: bool) -> float | None:
    if row is None:
        return None
    return row.count if emulated else row.best(1)


def _cells(row: Row | None, emulated: bool) -> tuple[RenderableType, RenderableType]:
    if row is None:
        return Text("-", "dim"), ""
    if row.state != "ran":
        return Text(row.state, "yellow" if row.state == "unavailable" else "bold red"), ""
    if emulated:
        mark = "~" if row.spread > _NOISE else ""
        return f"{mark}{short(row.count or 0)}", mix(row)
    best, middle = row.best(1), row.middle(1)
    return (seconds(best) if best is not None else "-"), (seconds(middle) if middle is not None else "")


def short(count: float) -> str:
    """Return a count with four digits and a suffix, such as ``12.35 M``."""
    for size, suffix in _SUFFIXES:
        if count >= size:
            value = count / size
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {suffix}"
    return f"{count:.0f}  "


def seconds(value: float) -> str:
    """Return a time with three digits and its unit, such as ``1.23 ms``. ``value`` is in seconds."""
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def mix(row: Row) -> str:
    """Return the percentage of vector instructions, such as ``sve 71 (dot 40), neon 3``. Zeros are omitted."""
    total = row.count or 1
    parts = []
    for kind in ("sve", "neon"):
        dot = round(100 * row.classes.get(f"{kind}-dot", 0) / total)
        share = round(100 * (row.classes.get(kind, 0) + row.classes.get(f"{kind}-dot", 0)) / total)
        if share:
            parts.append(f"{kind} {share}" + (f" (dot {dot})" if dot else ""))
    return ", ".join(parts) or "none"


def ratio_text(*values: float | None) -> Text:
    """Return the second value divided by the first. Lower is better, and green."""
    if len(values) != 2 or not values[0] or values[1] is None:
        return Text()
    ratio = values[1] / values[0]
    style = "green" if ratio < 0.98 else "yellow" if ratio > 1.02 else ""
    return Text(f"{ratio:.2f}", style)


def scaling_cells(row: Row | None, threads: tuple[int, ...]) -> list[str]:
    """Return the speedup over one thread, for each larger number of threads."""
    alone = row.best(1) if row is not None else None
    cells = []
    for count in threads[1:]:
        best = row.best(count) if row is not None else None
        cells.append(f"{alone / best:.1f}" if alone and best else "-")
    return cells


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


def _footnotes(reference: Measured | None, wheel: Measured) -> list[str]:
    lines = []
    for side in (reference, wheel):
        if side is None:
            continue
        label = side.wheel.label
        libraries = ", ".join(f"{one.name} ({_megabytes(one.bytes)})" for one in side.wheel.libraries)
        lines.append(f"{label} contains {libraries or 'no shared library'}")
        lines += [f"{label}, {row.workload}: {row.detail}" for row in side.rows if row.detail]
        if uneven := [row for row in side.rows if row.spread > _NOISE]:
            worst = max(row.spread for row in uneven)
            names = ", ".join(row.workload for row in uneven)
            lines.append(
                f"{label}: ~ marks counts that differ between calls, by {100 * worst:.1f} % at most: {names}"
            )
        lines += _cycle_notes(label, side.rows)
    return lines


def _cycle_notes(label: str, rows: Sequence[Row]) -> Iterator[str]:
    """Yield where the estimate of cycles is weak: instructions that the model lacks, and much memory traffic."""
    cycles = [(row.workload, row.cycles) for row in rows if row.cycles is not None]
    if unmodelled := [f"{name} {100 * one.unmodelled:.1f} %" for name, one in cycles if one.unmodelled]:
        yield f"{label}: the model of the core lacks instructions: {', '.join(unmodelled)}"
    far = [f"{name} {short(one.at_level_two)}" for name, one in cycles if one.at_level_two > one.estimated]
    if far:
        yield f"{label}: est. cycles if no access hits the first-level cache, where more: {', '.join(far)}"


def paste(report: BenchReport) -> str:
    """Return the times of a real machine as short plain text, for an issue or a mail."""
    lines = [f"armwheels bench {report.bench}: {report.project} {report.version} {report.python}"]
    lines.append("machine: " + machine_lines(report.machine)[0])
    for reference, wheel in report.pairs:
        sides = [side.wheel for side in (reference, wheel) if side is not None]
        lines += [f"{side.label}: {side.filename} sha256 {side.sha256[:16]}" for side in sides]
        scaled = " ".join(f"x{count}" for count in report.machine.threads[1:])
        head = f"{'workload':24}{'reference':>12}{wheel.wheel.label[:12]:>14}{'ratio':>8}"
        lines.append(f"{head}  {scaled}".rstrip())
        for row in wheel.rows:
            other = reference.row(row.workload) if reference else None
            before, after = (one.best(1) if one else None for one in (other, row))
            cells = [seconds(value) if value is not None else "-" for value in (before, after)]
            ratio = ratio_text(before, after).plain or "-"
            scaling = " ".join(scaling_cells(row, report.machine.threads))
            note = scaling if row.state == "ran" else f"{row.state}: {row.detail}"
            lines.append(f"{row.workload:24}{cells[0]:>12}{cells[1]:>14}{ratio:>8}  {note}".rstrip())
    return "\n".join(lines)
