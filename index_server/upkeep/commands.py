"""The commands ``collect`` and ``mirror`` of ``armwheels-index``."""

from __future__ import annotations

import dataclasses
import itertools
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from index_server.catalog.catalog import Catalog
from index_server.configs import load_configs
from index_server.errors import CheckFailedError, ConfigError
from index_server.policy import load_policy
from index_server.settings import configs_folder, load_settings, scratch_folder
from index_server.store.address import open_store
from index_server.upkeep.collector import Collector, Report
from index_server.upkeep.mirror import Environment, Mirror
from index_server.upkeep.resolve import GLIBC, upstream_of_pip
from index_server.upkeep.trim import trim

out = Console()
err = Console(stderr=True)


def collect(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and touch nothing.")] = False,
    cache_days: Annotated[
        int, typer.Option(min=1, help="Days that objects of the builders' compile cache stay.")
    ] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Take away the files that no promise covers any more, and old objects of the compile cache.

    Kept are all files of what stable ever named, of what a lease names, of what a channel shows, and of what it
    left less than its retention_days ago. Servers may go on meanwhile; a run that was killed is taken up by the
    next one. Exits with 1 if a file that must be there is not.
    """
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    with err.status("begins") as status:
        report = Collector(catalog, load_policy().retention, status.update).run(dry_run=dry_run)
        if not dry_run:
            trim(catalog.store, timedelta(days=cache_days), catalog.now())
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(report), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(report)
    if report.missing:
        raise CheckFailedError(f"{len(report.missing)} files must be there and are not: {report.missing[0]}")


def mirror(
    projects: Annotated[list[str] | None, typer.Argument(help="Projects, with or without versions.")] = None,
    *,
    target: Annotated[str | None, typer.Option(help="The CPU whose view is to be closed.")] = None,
    python: Annotated[
        str | None, typer.Option(metavar="TAG", help="Which CPython, as in wheel tags.")
    ] = None,
    matrix: Annotated[
        str | None, typer.Option(help="Every target and Python of this matrix, in place of one each.")
    ] = None,
    requirement: Annotated[
        list[Path] | None,
        typer.Option("--requirement", "-r", exists=True, help="A requirements file; may be given again."),
    ] = None,
    glibc: Annotated[
        str, typer.Option(metavar="2.N", help="The C library that all of it must run on.")
    ] = f"2.{GLIBC}",
    channel: Annotated[str, typer.Option(help="The channel to close.")] = "nightly",
) -> None:
    """Take others' wheels that projects need into a channel, so that one --index-url is enough.

    Names that are uploaded here are ours: for them no other index is asked. All else comes from the index that
    pip is set up with on this machine. A run that was stopped goes on where it was.
    """
    settings = load_settings()
    if not projects and not requirement:
        raise ConfigError("name a project, or a file of requirements with --requirement")
    if matrix is None and (target is None or python is None):
        raise ConfigError("name a target and a Python (--target neoverse-v1 --python cp311), or a --matrix")
    if re.fullmatch(r"2\.(1[789]|[2-9][0-9])", glibc) is None:
        raise ConfigError(f"{glibc!r} is no glibc that wheels for aarch64 name; write one such as 2.{GLIBC}")
    minor = int(glibc.removeprefix("2."))
    if matrix is not None:
        environments = [dataclasses.replace(each, glibc=minor) for each in environments_of(matrix)]
    else:
        environments = [Environment(str(target), str(python), minor)]
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def progress(filename: str, had: int, size: int) -> None:
        if filename not in tasks:
            tasks[filename] = bar.add_task(filename, total=size)
        bar.update(tasks[filename], completed=had, total=size)

    with bar:
        done = Mirror(
            Catalog(open_store(settings.store), settings.channels, development=settings.development),
            settings,
            load_policy(),
            channel=channel,
            upstream=upstream_of_pip(),
            folder=scratch_folder() / "mirror",
            progress=progress,
        ).run(environments, projects or [], requirement or [])
    for name in done.ours:
        out.print(f"ours: {name}", highlight=False, markup=False, soft_wrap=True)
    for each in done.closure:
        out.print(f"mirrored: {each.filename}", highlight=False, markup=False, soft_wrap=True)
    where = f"{channel} shows it in {done.move.snapshot}" if done.move else f"{channel} has it all already"
    out.print(f"{len(done.closure)} wheels, {decimal(done.downloaded)} downloaded; {where}", highlight=False)


def environments_of(matrix: str) -> list[Environment]:
    """Every target and Python of a matrix of ``matrices.toml``, which index and builder share.

    Raises:
        ConfigError: there is no such matrix.
    """
    known = load_configs(configs_folder()).matrices
    if matrix not in known:
        raise ConfigError(
            f"matrices.toml has no matrix {matrix!r}; it has {', '.join(sorted(known)) or 'none'}"
        )
    cells = known[matrix].cells
    pairs = {pair for block in cells for pair in itertools.product(block.targets, block.pythons)}
    return [Environment(target, python) for target, python in sorted(pairs)]


def _print(report: Report) -> None:
    verb = "would go" if report.dry_run else "collected"
    for name in sorted(report.collected):
        out.print(f"{verb}: {name}", highlight=False, markup=False, soft_wrap=True)
    for name in sorted(report.spared):
        out.print(f"spared, reachable again: {name}", highlight=False, markup=False, soft_wrap=True)
    out.print(
        f"{len(report.collected)} files, {decimal(report.bytes_freed)}, {verb}, of {report.stored} stored",
        highlight=False,
    )
    out.print(
        f"kept: {report.snapshots} snapshots, {report.for_ever} of them for ever, and {report.leases} leases; "
        f"they reach {report.reachable} files, of which {len(report.missing)} are missing",
        highlight=False,
        soft_wrap=True,
    )
