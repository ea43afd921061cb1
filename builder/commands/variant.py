"""The command variant: wheel variants (PEP 825) from tuned wheels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.audit import open_wheel
from builder.audit.decode import LlvmMc
from builder.audit.variant import fitting_label
from builder.commands import console
from builder.commands.configs import read_configs
from builder.commands.terminal import err, out
from builder.errors import ConfigError
from builder.ingredients import expectations_of
from builder.repair.variant import make_variant
from builder.targets import GENERIC
from builder.toolbox.toolbox import Toolbox


def variant(
    wheels: Annotated[
        list[Path],
        typer.Argument(metavar="WHEEL…", exists=True, dir_okay=False, help="Tuned wheels of ours."),
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", file_okay=False, help="Folder for the variants.")
    ] = Path("variants"),
) -> None:
    """Make wheel variants (PEP 825, a draft), among which uv chooses by the CPU.

    The label of a variant is the least demanding one whose CPUs have all instructions of the wheel, except those
    that a test of the CPU chooses at run time. A wheel with SVE outside such code gets no variant: no label of uv
    promises SVE. The variant has the same code as the wheel, and the version of the plain wheel (`+generic`).

    `armwheels publish` takes variants if the index does (ARMWHEELS_VARIANTS=on there).

    Exit code 1: no variant could be made.

    Example: armwheels variant dist/numpy-2.4.6+neoverse.n1-1_3fa9c2d1-cp313-cp313-manylinux_2_27_aarch64.whl
    """
    configs = read_configs()
    toolbox = Toolbox(console.Live(err).say)
    generic, decoder = configs.targets[GENERIC], LlvmMc(toolbox.llvm_mc())
    made = 0
    for wheel in wheels:
        opened = open_wheel(wheel)
        if opened.passport is None:
            raise ConfigError(f"{wheel.name} has no passport: another project built it")
        allow = expectations_of(wheel, configs, None).allow
        label, verdict = fitting_label(opened, generic, allow, decoder)
        if label is None:
            out.print(f"{wheel.name}: no variant: {verdict.detail}", highlight=False, soft_wrap=True)
            continue
        path = make_variant(wheel, label, output, toolbox.report)
        out.print(f"{label}: {path}", highlight=False, soft_wrap=True)
        made += 1
    if not made:
        raise typer.Exit(1)
