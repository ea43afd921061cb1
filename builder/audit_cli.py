"""The program ``armwheels-audit``: the audit alone, for wheels of any project, without a checkout or a toolbox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from builder.audit import AuditReport, audit_wheel
from builder.commands.judging import (
    AllowOption,
    SarifOption,
    TargetOption,
    judge_wheels,
    rules_in,
    show_table,
    tool_version,
)
from builder.commands.terminal import run
from builder.cpus import load_targets
from builder.errors import ToolboxError
from builder.model.expectations import Expectations
from builder.settings import variable

OLDEST_LLVM = 19
"""Older releases do not support every target."""
BUNDLED = Path(__file__).resolve().parent / "llvm" / "llvm-mc"
"""Where the wheel for x86-64 Linux has its own."""
_VERSION = re.compile(r"LLVM version (\d+)")
_ADVICE = (
    "Install it (Debian, Ubuntu: apt install llvm-19), name it with --llvm-mc or ARMWHEELS_LLVM_MC, or install the "
    "wheel of armwheels-audit for x86-64 Linux, which contains it"
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"armwheels-audit {tool_version()}")
        raise typer.Exit


def audit(
    wheels: Annotated[
        list[Path],
        typer.Argument(metavar="WHEEL…", exists=True, dir_okay=False, help="Wheel files of any project."),
    ],
    target: TargetOption = None,
    allow: AllowOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each report as one line of JSON.")] = False,
    sarif: SarifOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show failed wheels only.")] = False,
    llvm_mc: Annotated[
        Path | None,
        typer.Option(
            "--llvm-mc",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="The program llvm-mc, of LLVM 19 or later. Default: ARMWHEELS_LLVM_MC, else the one in this "
            "distribution, else that of PATH.",
        ),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version.")
    ] = False,
) -> None:
    """Check whether wheels for 64-bit Arm run on a CPU: files, tags, libraries, instructions. Changes nothing.

    An instruction that the target lacks is judged by when it runs: at import, when something calls it, or only if a
    test of the CPU chose it. The last passes.

    Exit code: the highest of all wheels. 0: passed. 1: a check failed. 2: the command line is wrong. 3: a file of
    rules or a setting is wrong. 4: no llvm-mc. 8: a wheel cannot be read.

    Example: armwheels-audit dist/*.whl --target graviton3
    """
    targets = load_targets()
    chosen = targets[target] if target else None
    expectations = Expectations(allow=rules_in(allow))
    program = find_llvm_mc(llvm_mc)

    def judge(path: Path) -> AuditReport:
        return audit_wheel(path, targets=targets, target=chosen, expectations=expectations, llvm_mc=program)

    def show(report: AuditReport) -> None:
        if quiet and report.passed:
            return
        if as_json:
            typer.echo(report.model_dump_json())
        else:
            show_table(report)

    judge_wheels(wheels, judge, show=show, sarif_file=sarif)


def find_llvm_mc(named: Path | None = None) -> Path:
    """Return the first llvm-mc of LLVM 19 or later: the named one, that of the distribution, or one of ``PATH``.

    A program that is named, by the option or the variable, is the only one tried.

    Raises:
        ToolboxError: there is none; the message says what was found instead, and what to install.
    """
    if named is None and (told := variable("ARMWHEELS_LLVM_MC")):
        named = Path(told)
    candidates = [named] if named else [BUNDLED] if BUNDLED.is_file() else _in_path()
    refused = []
    for program in candidates:
        fault = _fault(program)
        if fault is None:
            return program
        refused.append(f"{program}: {fault}")
    found = "\n".join(refused) or "PATH has no llvm-mc"
    raise ToolboxError(f"the audit needs llvm-mc of LLVM {OLDEST_LLVM} or later\n{found}\n{_ADVICE}")


def _in_path() -> list[Path]:
    """``llvm-mc`` and those with a version in their name, the oldest first that serves."""
    plain = shutil.which("llvm-mc")
    numbered: dict[int, Path] = {}
    for folder in os.get_exec_path():
        for path in Path(folder).glob("llvm-mc-*"):
            if (release := path.name.removeprefix("llvm-mc-")).isdecimal() and os.access(path, os.X_OK):
                numbered.setdefault(int(release), path)
    fitting = [numbered[release] for release in sorted(numbered) if release >= OLDEST_LLVM]
    return [*([Path(plain)] if plain else []), *fitting]


def _fault(program: Path) -> str | None:
    """Return why a program is no llvm-mc that serves; ``None`` if it is one."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"does not run: {error.strerror or error}"
    found = _VERSION.search(done.stdout)
    if done.returncode or found is None:
        return "does not say that it is of LLVM"
    if int(found[1]) < OLDEST_LLVM:
        return f"is of LLVM {found[1]}"
    if not re.search(r"^\s*aarch64\s", done.stdout, re.MULTILINE):
        return "was built without AArch64"
    return None


def make_app() -> typer.Typer:
    """Return the program."""
    app = typer.Typer(
        name="armwheels-audit",
        add_completion=False,
        rich_markup_mode="rich" if sys.stderr.isatty() else None,
        pretty_exceptions_enable=False,
    )
    app.command("armwheels-audit", no_args_is_help=True)(audit)
    return app


def main() -> None:
    """Run the audit; an error ends it with that error's exit code."""
    run(make_app())


if __name__ == "__main__":
    main()
