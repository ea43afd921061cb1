"""What ``armwheels audit`` and ``armwheels-audit`` share: options, output and exit code of an audit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from builder.audit import AuditReport, sarif, table
from builder.commands.terminal import out, say_error
from builder.errors import AuditError, ConfigError, with_true_cause
from builder.model.expectations import AllowedCode, AllowFile
from builder.settings import load_toml

TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="T", help="CPU target or alias. Default: the passport's target, else generic."
    ),
]
AllowOption = Annotated[
    Path | None,
    typer.Option(
        "--allow",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="TOML file of [[allow]] tables, as in a recipe: code that is chosen at run time.",
    ),
]
SarifOption = Annotated[
    Path | None,
    typer.Option(
        "--sarif",
        metavar="FILE",
        dir_okay=False,
        help="Also write the faults as SARIF 2.1.0, for code scanners.",
    ),
]


def rules_in(path: Path | None) -> tuple[AllowedCode, ...]:
    """The rules of a file of ``[[allow]]`` tables; none without a file.

    Raises:
        ConfigError: with every fault of the file.
    """
    return load_toml(AllowFile, path).allow if path is not None else ()


def judge_wheels(
    wheels: Sequence[Path],
    audit: Callable[[Path], AuditReport],
    *,
    show: Callable[[AuditReport], None],
    sarif_file: Path | None,
) -> None:
    """Audit each wheel, show its report, and write all as SARIF.

    Raises:
        ConfigError: the SARIF file cannot be written.
        typer.Exit: with 1 if a check failed, and with the code of :class:`AuditError` if a wheel cannot be read.
    """
    code = 0
    audited = []
    for wheel in dict.fromkeys(wheels):  # SARIF lists a file once
        try:
            report = audit(wheel)
        except AuditError as error:
            told = with_true_cause(error)
            say_error(told)
            code = max(code, told.exit_code)
            audited.append(sarif.Audited(_uri(wheel), None, str(told)))
        else:
            show(report)
            code = max(code, 0 if report.passed else 1)
            audited.append(sarif.Audited(_uri(wheel), report))
    if sarif_file is not None:
        text = json.dumps(sarif.document(audited, tool_version()), indent=1, ensure_ascii=False) + "\n"
        try:
            sarif_file.write_text(text, encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise ConfigError(f"{sarif_file}: cannot be written: {error.strerror}") from error
    if code:
        raise typer.Exit(code)


def show_table(report: AuditReport) -> None:
    """Print a report for people."""
    out.print(table.draw(report), highlight=False)


def tool_version() -> str:
    """The version of the installed distribution that has this code."""
    try:
        return version("armwheels-audit")
    except PackageNotFoundError:
        return version("armwheels")


def _uri(path: Path) -> str:
    """A relative path as a URI reference, to which code scanners join their own root; an absolute one as a URI."""
    return path.as_uri() if path.is_absolute() else quote(path.as_posix(), safe="/+")
