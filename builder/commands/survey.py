"""The command ``armwheels survey``."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from builder import settings
from builder.commands.configs import read_configs
from builder.commands.terminal import err, out
from builder.survey import Answer, Entry, Survey, Surveyor, ranked_projects, write_pages
from builder.toolbox.toolbox import Toolbox

TARGETS = ("generic", "neoverse-n1", "neoverse-v1")
"""The CPUs of the servers that most people rent: Graviton1 and Raspberry Pi 4, Graviton2 and Altra, Graviton3."""
_STYLES = {
    Answer.IMPORT: "bold red",
    Answer.CALLED: "bold yellow",
    Answer.UNKNOWN: "dim",
    Answer.CHOSEN: "green",
    Answer.RUNS: "green",
}


def survey(
    projects: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROJECT]…", help="Projects. Default: those of configs/survey.toml."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Take the first N projects.")] = 50,
    ranking: Annotated[
        Path | None,
        typer.Option(
            "--ranking",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Take the projects from a file: one name a line, or the JSON of Top PyPI Packages.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="T", help=f"CPU target; repeatable. Default: {', '.join(TARGETS)}."),
    ] = None,
    python: Annotated[
        str, typer.Option("--python", metavar="TAG", help="Take wheels for this CPython.")
    ] = "cp313",
    run: Annotated[
        bool,
        typer.Option("--run", help="Also import each wheel under emulation. This takes minutes a wheel."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the downloaded wheels.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Default: survey-report in ARMWHEELS_HOME.")
    ] = None,
) -> None:
    """Audit the newest wheel of many projects for several CPUs, and write a page, JSON and badges.

    A survey that was stopped goes on where it was. Later ones audit only wheels that are new.

    Example: armwheels survey --top 20 --target generic
    """
    configs = read_configs()
    targets = tuple(configs.targets[name].name for name in target or TARGETS)
    chosen = tuple(dict.fromkeys(projects)) if projects else ranked_projects(ranking)[:top]
    toolbox = Toolbox(lambda line: err.print(line, highlight=False))
    toolbox.llvm_mc()
    surveyor = Surveyor(toolbox, configs.targets, python, run=run, keep=keep)
    entries: list[Entry] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        Progress(*columns, console=err, transient=True) as progress,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        task = progress.add_task("survey", total=len(chosen))

        def say(line: str) -> None:
            progress.update(task, description=line)

        for entry in pool.map(lambda name: surveyor.look_at(name, targets, say), chosen):
            entries.append(entry)
            progress.advance(task)
            if not err.is_terminal:
                err.print(f"{entry.project}: {_short(entry)}", highlight=False, soft_wrap=True)
    made = Survey(
        made=datetime.now(UTC).date().isoformat(), python=python, targets=targets, entries=tuple(entries)
    )
    folder = output or settings.home_dir() / "survey-report"
    written = write_pages(made, folder, configs.targets)
    out.print(_table(made))
    out.print(
        f"{written[0]}: the page; {written[1].name} and badges/ beside it", highlight=False, soft_wrap=True
    )


def _short(entry: Entry) -> str:
    if not entry.results:
        return entry.note
    return ", ".join(f"{one.target} {one.answer.value}" for one in entry.results)


def _table(made: Survey) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("project", "version", *made.targets):
        table.add_column(name, overflow="fold")
    for entry in made.entries:
        cells = [f"[{_STYLES[one.answer]}]{one.answer.value}[/]" for one in entry.results] or [
            f"[dim]{entry.note}[/]"
        ]
        table.add_row(entry.project, entry.version, *cells)
    return table
