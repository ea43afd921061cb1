"""The command ``armwheels``: the one place where an error becomes an exit code."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from builder import audit as auditing
from builder import settings, targets_view
from builder import targets as cpu
from builder.audit import table as audit_table
from builder.errors import ArmwheelsError, ConfigError

app = typer.Typer(
    name="armwheels",
    help="Wheels cross-compiled and tuned for each Arm server CPU, proven and published.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


def load_targets() -> cpu.Targets:
    """The CPU targets of ``configs/targets.toml``."""
    path = settings.configs_dir() / "targets.toml"
    return cpu.load(settings.read_toml(path), origin=str(path))


@app.command()
def targets(
    host: Annotated[
        bool, typer.Option("--host", help="Say which target fits this machine, and why.")
    ] = False,
    cpuinfo: Annotated[
        Path | None,
        typer.Option("--cpuinfo", metavar="FILE", help="The same for a machine whose /proc/cpuinfo is FILE."),
    ] = None,
) -> None:
    """Draw the CPU targets in their order, or tell which one fits a machine.

    Example: armwheels targets --cpuinfo graviton.txt
    """
    known = load_targets()
    if not host and cpuinfo is None:
        out.print(targets_view.order(known))
        return
    if cpuinfo is None and platform.machine() != "aarch64":
        raise ConfigError(
            f"this machine is not an Arm one ({platform.machine()}), so no target fits it; "
            "copy /proc/cpuinfo of the machine you mean and name it with --cpuinfo FILE"
        )
    path = cpuinfo or Path("/proc/cpuinfo")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    out.print(targets_view.fit(known, known.host_fit(text)))


def find_llvm_mc(named: Path | None) -> Path:
    """The llvm-mc to decode with: the one named, else the newest on the search path."""
    if named is not None:
        return named
    found = shutil.which("llvm-mc-19") or shutil.which("llvm-mc")
    if found is None:
        raise ConfigError("llvm-mc is not on the search path; install LLVM 19 or name it with --llvm-mc PATH")
    return Path(found)


@app.command()
def audit(
    wheel: Annotated[Path, typer.Argument(metavar="WHEEL", help="A wheel file, ours or another project's.")],
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="T", help="CPU target or alias; else the passport's, else generic."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    llvm_mc: Annotated[
        Path | None,
        typer.Option(
            "--llvm-mc", envvar="ARMWHEELS_LLVM_MC", metavar="PATH", help="llvm-mc of LLVM 19 or later."
        ),
    ] = None,
) -> None:
    """Judge a wheel without changing it; exit code 0 when it passed, 1 when it failed.

    Example: armwheels audit msgpack-1.2.4-cp311-cp311-manylinux2014_aarch64.whl --target graviton3
    """
    known = load_targets()
    report = auditing.audit_wheel(
        wheel,
        targets=known,
        target=known[target] if target else None,
        llvm_mc=find_llvm_mc(llvm_mc),
    )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        out.print(audit_table.draw(report), highlight=False)
    if not report.passed:
        raise typer.Exit(1)


def main() -> None:
    """Run the command; an :class:`ArmwheelsError` ends it with that error's exit code."""
    try:
        app()
    except ArmwheelsError as error:
        err.print(f"[bold red]error:[/] {error}", highlight=False, markup=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted; run the same command again to go on from here")
        sys.exit(130)
