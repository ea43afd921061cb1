"""The commands on wheel files: audit, verify, publish."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from builder import audit as auditing
from builder import settings
from builder.commands import console
from builder.commands.configs import read_configs
from builder.commands.judging import (
    AllowOption,
    SarifOption,
    TargetOption,
    judge_wheels,
    rules_in,
    show_table,
)
from builder.commands.project import Project
from builder.commands.terminal import err, out
from builder.emulation import trial
from builder.emulation import verify as emulation
from builder.errors import (
    PublishError,
)
from builder.index.keys import builder_key, signing_line
from builder.index.licences import licensed_library, refuse_licensed
from builder.index.local import open_index
from builder.index.publish import previous_wheels, put_evidence
from builder.ingredients import expectations_of, record_of
from builder.toolbox.toolbox import Toolbox


def audit(
    wheel: Annotated[
        Path, typer.Argument(metavar="WHEEL", exists=True, dir_okay=False, help="Wheel file of any project.")
    ],
    target: TargetOption = None,
    recipe_name: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Recipe whose [[audit.allow]] holds for a wheel that others built. Default: none.",
        ),
    ] = None,
    allow: AllowOption = None,
    run: Annotated[
        bool,
        typer.Option(
            "--run", help="Also import the wheel's modules on the emulated CPU, and compare with the audit."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    sarif: SarifOption = None,
) -> None:
    """Check a wheel's files, tags, libraries, instructions, flags, licences and passport, without changing it.

    An instruction that the target lacks is judged by when it runs: at import, when something calls it, or only if a
    test of the CPU chose it. The last passes in a wheel that others built.

    --run installs the wheel and what it requires from pip's indexes, and imports its modules under emulation. If an
    import ends by an illegal instruction, the check `run` names the file, the address, and the rank that the audit
    gave it.

    Exit code 1: a check failed. 8: the wheel cannot be read.

    Example: armwheels audit msgpack-1.2.4-cp313-cp313-manylinux2014_aarch64.whl --target graviton3
    """
    configs = read_configs()
    chosen = configs.targets[target] if target else None
    rules = configs.recipe(recipe_name).audit.allow if recipe_name else ()
    rules = (*rules, *rules_in(allow))
    toolbox = Toolbox(console.Live(err).say)

    def judge(path: Path) -> auditing.AuditReport:
        report = auditing.audit_wheel(
            path,
            targets=configs.targets,
            target=chosen,
            expectations=expectations_of(path, configs, chosen, rules),
            record=record_of(path, toolbox.home),
            llvm_mc=toolbox.llvm_mc(),
        )
        if not run:
            return report
        return trial.decided(report, path, target=configs.targets[report.target], toolbox=toolbox)

    def show(report: auditing.AuditReport) -> None:
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            show_table(report)

    judge_wheels([wheel], judge, show=show, sarif_file=sarif)


def verify(
    wheel: Annotated[
        Path, typer.Argument(metavar="WHEEL", exists=True, dir_okay=False, help="Wheel file of any project.")
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="T",
            help="CPU target to emulate. Default: the passport's target, else generic.",
        ),
    ] = None,
    recipe_name: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Recipe whose tests to run. Default: the passport's recipe."
        ),
    ] = None,
) -> None:
    """Install a wheel in a clean arm64 environment and run its recipe's tests under emulation.

    Exit code 1: a test failed.

    Example: armwheels verify numpy-2.4.6+neoverse.v1-1_3fa9c2d1-cp313-cp313-manylinux_2_27_aarch64.whl
    """
    project = Project()
    recipe, version, python, own_target = project.tested_as(wheel, recipe_name)
    report = emulation.verify(
        wheel.resolve(),
        recipe=recipe,
        version=version,
        python=python,
        target=project.targets[target or own_target],
        targets=project.targets,
        toolbox=project.toolbox,
        progress=project.live.say,
    )
    out.print(console.verify_table(report), highlight=False)
    if not report.passed:
        raise typer.Exit(1)


def publish(
    wheels: Annotated[
        list[Path],
        typer.Argument(
            metavar="WHEEL…", exists=True, dir_okay=False, help="Wheels to publish in one snapshot."
        ),
    ],
    channel: Annotated[str, typer.Option("--channel", help="Channel to move.")] = "nightly",
) -> None:
    """Audit, run and bench wheels, upload them with the reports, and move a channel to the new snapshot.

    If a wheel with a passport fails, or holds a licensed library, nothing is uploaded. Wheels of other projects are
    uploaded without checks. The index is ARMWHEELS_INDEX with ARMWHEELS_TOKEN, else the local store.

    Example: armwheels publish dist/*.whl
    """
    project, signer = Project(), builder_key()
    wheels = [wheel.resolve() for wheel in wheels]
    passports = {wheel: auditing.open_wheel(wheel).passport for wheel in wheels}
    own = {wheel: passport for wheel, passport in passports.items() if passport is not None}
    refuse_licensed({wheel.name: licensed_library(own[wheel], project.recipes) for wheel in own})
    session = secrets.token_urlsafe(24)
    home = settings.home_dir()
    with open_index(home) as index:
        state = index.channel(channel)
        previous_of = previous_wheels(index, state.snapshot, home / "downloads")
        proven = [project.examine(wheel, previous_of) for wheel in own]
        if refused := [wheel for wheel in proven if wheel.faults]:
            told = ("\n  ".join((wheel.path.name, *wheel.faults)) for wheel in refused)
            raise PublishError("nothing was uploaded:\n" + "\n".join(told))
        for path in track(wheels, description="uploading", console=out, transient=True):
            index.upload(path, session)
        for wheel in proven:
            put_evidence(index, wheel, signer)
        made = index.make_snapshot(session, state)
        if made.id != state.snapshot:
            index.move(channel, made.id, state.serial, "armwheels publish")
    message = (
        f"{channel} moved to {made.id}"
        if made.id != state.snapshot
        else f"nothing new; {channel} stays at {made.id}"
    )
    out.print(message, highlight=False)
    if own:
        out.print(signing_line(signer), highlight=False, soft_wrap=True)
