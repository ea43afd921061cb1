"""Makes a table and a chart of what `armwheels bench --json` says about a wheel of torch-tuned-kernels.

    .venv/bin/python -m scripts.kernel_tables report.json --chart docs/evidence/kernels-graviton3.svg

The table goes to standard output: instructions of PyTorch's own kernels and of ours, and estimated cycles.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from builder.bench.model import BenchReport, Row
from builder.whole import write_text

WIDTH, LEFT, ROW, TOP = 760, 250, 24, 66


class Pair(NamedTuple):
    """A workload with PyTorch's own kernels and with ours."""

    about: str
    stock: Row
    ours: Row

    @property
    def factor(self) -> float:
        return (self.stock.count or 0) / (self.ours.count or 1)

    @property
    def cycles(self) -> float | None:
        if self.stock.cycles is None or self.ours.cycles is None:
            return None
        return self.stock.cycles.estimated / self.ours.cycles.estimated


def pairs_of(report: BenchReport) -> list[Pair]:
    """The workloads that ran both ways, in the order of the bench script."""
    [measured] = report.measured
    found = []
    for workload in report.workloads:
        name, _, way = workload.name.rpartition("-")
        stock, ours = measured.row(f"{name}-stock"), measured.row(f"{name}-ours")
        if way == "stock" and stock and ours and stock.count and ours.count:
            found.append(Pair(workload.about.removesuffix(", stock"), stock, ours))
    return found


def table(pairs: list[Pair]) -> str:
    """The pairs as a Markdown table; cycles in thousands."""
    lines = ["| workload | PyTorch's | ours | factor | cycles (thousands), estimated | factor |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for pair in pairs:
        cycles = "| |"
        if pair.stock.cycles and pair.ours.cycles and pair.cycles:
            theirs, own = pair.stock.cycles.estimated, pair.ours.cycles.estimated
            cycles = f"| {theirs / 1000:,.0f}, {own / 1000:,.0f} | {pair.cycles:.2f} |"
        counts = f"{pair.stock.count:,} | {pair.ours.count:,}"
        lines.append(f"| {pair.about} | {counts} | {pair.factor:.2f} {cycles}")
    return "\n".join(lines)


def chart(pairs: list[Pair], machine: str) -> str:
    """Bars of the factors, on a logarithmic scale, the largest first."""
    shown = sorted((pair for pair in pairs if pair.factor >= 1.2), key=lambda pair: -pair.factor)
    height = TOP + ROW * len(shown) + 16
    most = math.log10(max((pair.factor for pair in shown), default=10))
    title = f"{machine}: how many times fewer instructions than PyTorch 2.9.1"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="28" font-size="17" font-weight="600" fill="#102a43">{escape(title)}</text>',
        '<text x="16" y="48" fill="#52667a">One thread, counted under emulation; logarithmic scale</text>',
    ]
    for number, pair in enumerate(shown):
        y = TOP + ROW * number
        wide = max(2.0, (WIDTH - LEFT - 80) * math.log10(pair.factor) / most)
        factor = f"{pair.factor:.0f}" if pair.factor >= 10 else f"{pair.factor:.1f}"
        name = pair.stock.workload.removesuffix("-stock")
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end" fill="#102a43">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{wide:.0f}" height="{ROW - 6}" rx="3" fill="#3b6ea5"/>',
            f'<text x="{LEFT + wide + 6:.0f}" y="{y + 14}" fill="#102a43">{factor} times</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def main(
    report: Annotated[Path, typer.Argument(help="What `armwheels bench WHEEL --json` printed.")],
    chart_file: Annotated[
        Path | None, typer.Option("--chart", help="Write a chart to this file (SVG).")
    ] = None,
) -> None:
    read = BenchReport.model_validate_json(report.read_text(encoding="utf-8"))
    pairs = pairs_of(read)
    print(table(pairs))
    if chart_file:
        write_text(chart_file, chart(pairs, read.machine.server or read.machine.cpu))


if __name__ == "__main__":
    typer.run(main)
