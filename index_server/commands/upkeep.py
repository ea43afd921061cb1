"""The commands ``collect``, ``leases`` and ``mirror`` of ``armwheels-index``."""

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
from index_server.upkeep.ending import ending
from index_server.upkeep.mirror import Environment, Mirror
from index_server.upkeep.resolve import GLIBC, upstream_of_pip
from index_server.upkeep.trim import trim

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


def collect(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report the files, and delete nothing.")] = False,
    cache_days: Annotated[
        int, typer.Option(min=1, help="Days for which objects of the builders' compile cache are kept.")
    ] = 30,
    logs_days: Annotated[int, typer.Option(min=1, help="Days for which logs of builds are kept.")] = 90,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Delete files that no retention rule keeps any longer, and old objects of the compile cache and logs.

    A channel without retention_days, such as stable, keeps the files of every snapshot that it has shown. Other
    channels keep the files of their current snapshot, and of those that they left less than retention_days ago.
    Leases keep files, too.

    Servers may run at the same time. After an interruption, the next run continues. The exit code is 1 if a kept
    file is missing.
    """
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    with err.status("starting") as status:
        report = Collector(catalog, load_policy().retention, status.update).run(dry_run=dry_run)
        if not dry_run:
            trim(catalog.store, timedelta(days=cache_days), catalog.now())
            trim(catalog.store, timedelta(days=logs_days), catalog.now(), prefix="logs/")
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(report), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(report)
    if report.missing:
        raise CheckFailedError(
            f"{len(report.missing)} kept files are missing; the first is {report.missing[0]}"
        )


def leases(
    *,
    days: Annotated[int, typer.Option(min=0, help="How many days ahead to look.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Name the leases that use files whose last promise by a channel ends tomorrow.

    From then on the lease alone keeps the file. Run it once a day, and tell those who hold the leases.
    """
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    found = ending(catalog, load_policy().retention, days=days)
    if as_json:
        typer.echo(orjson.dumps([dataclasses.asdict(each) for each in found]).decode())
        return
    for each in found:
        about = f" ({each.message})" if each.message else ""
        out.print(
            f"{each.until}  {each.lease}, taken by {each.taken_by}{about}: {each.filename}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    out.print(
        f"{len(found)} files of leases lose their last other promise within {days} days", highlight=False
    )


def mirror(
    projects: Annotated[
        list[str] | None, typer.Argument(help="Projects, optionally with version specifiers.")
    ] = None,
    *,
    target: Annotated[str | None, typer.Option(help="CPU target to resolve the dependencies for.")] = None,
    python: Annotated[
        str | None, typer.Option(metavar="TAG", help="CPython version as in wheel tags, such as cp313.")
    ] = None,
    matrix: Annotated[
        str | None,
        typer.Option(
            help="Resolve for every target and Python of this matrix, instead of --target and --python."
        ),
    ] = None,
    requirement: Annotated[
        list[Path] | None,
        typer.Option("--requirement", "-r", exists=True, help="Requirements file. Repeatable."),
    ] = None,
    glibc: Annotated[
        str, typer.Option(metavar="2.N", help="Oldest glibc that all wheels must run on.")
    ] = f"2.{GLIBC}",
    channel: Annotated[str, typer.Option(help="Channel to add the wheels to.")] = "nightly",
) -> None:
    """Copy the dependencies of projects from another index into a channel.

    After that, pip needs only one --index-url to install the projects.

    A project with an uploaded file is taken only from this index. All other projects come from the index that pip
    is configured with on this machine. After an interruption, the next run continues the download.
    """
    settings = load_settings()
    if not projects and not requirement:
        raise ConfigError("name a project, or a requirements file with --requirement")
    if matrix is None and (target is None or python is None):
        raise ConfigError("name a target and a Python (--target neoverse-v1 --python cp313), or a --matrix")
    if re.fullmatch(r"2\.(1[789]|[2-9][0-9])", glibc) is None:
        raise ConfigError(f"{glibc!r} is not a glibc version of aarch64 wheels; write one such as 2.{GLIBC}")
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
    where = (
        f"{channel} shows them in {done.move.snapshot}" if done.move else f"{channel} already has all wheels"
    )
    out.print(f"{len(done.closure)} wheels, {decimal(done.downloaded)} downloaded; {where}", highlight=False)


def environments_of(matrix: str) -> list[Environment]:
    """Return every pair of target and Python in a matrix of ``matrices.toml``, which the builder also reads.

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
    verb = "would be collected" if report.dry_run else "collected"
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
