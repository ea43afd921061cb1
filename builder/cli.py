"""The command ``armwheels``: the one place where an error becomes an exit code."""

from __future__ import annotations

import os
import platform
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from builder import audit as auditing
from builder import channels as channels_room
from builder import console, settings, stages, targets_view
from builder import doctor as doctor_room
from builder import lock as lock_room
from builder import nightly as nightly_room
from builder import verify as verify_room
from builder.audit import table as audit_table
from builder.bench import command as bench_room
from builder.bench.install import python_of
from builder.compile.bazel import planned
from builder.compile.processes import end_children
from builder.emulate import EmulatedPython, model_of
from builder.errors import (
    ArmwheelsError,
    ConfigError,
    IncompleteError,
    PublishError,
    StoppedError,
    as_disk_error,
)
from builder.model import Build, Recipe
from builder.plan import make_build, make_builds, make_plan
from builder.toolbox import Toolbox, load_pins, load_toolchains

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
    known = stages.load_targets()
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


@app.command()
def audit(
    wheel: Annotated[Path, typer.Argument(metavar="WHEEL", help="A wheel file, ours or another project's.")],
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="T", help="CPU target or alias; else the passport's, else generic."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Judge a wheel without changing it; exit code 0 when it passed, 1 when it failed.

    Example: armwheels audit msgpack-1.2.4-cp311-cp311-manylinux2014_aarch64.whl --target graviton3
    """
    known = stages.load_targets()
    chosen = known[target] if target else None
    report = auditing.audit_wheel(
        wheel,
        targets=known,
        target=chosen,
        expectations=stages.expectations_of(wheel, known, chosen),
        llvm_mc=Toolbox(console.Live(err).say).llvm_mc(),
    )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        out.print(audit_table.draw(report), highlight=False)
    if not report.passed:
        raise typer.Exit(1)


class Bench:
    """Everything a command needs, read once: configuration, toolbox, workshop."""

    def __init__(self) -> None:
        self.live = console.Live(out)
        self.toolbox = Toolbox(self.live.say)
        self.targets = stages.load_targets()
        self.recipes = stages.load_recipes()
        self.workshop = stages.Workshop(self.toolbox, self.targets)
        self.ingredients = stages.gather_ingredients(self.recipes, self.toolbox.toolchains, self.toolbox.pins)

    def builds(self, matrix: str) -> tuple[Build, ...]:
        return make_builds(stages.load_matrix(matrix), self.recipes, self.targets, self.ingredients)

    def passport(self, wheel: Path) -> tuple[dict[str, Any], Recipe]:
        """The passport of a wheel and the recipe it was made from."""
        passport = auditing.open_wheel(wheel).passport
        if passport is None:
            raise ConfigError(
                f"{wheel.name} has no passport, which would name the recipe that says how to test it"
            )
        recipe = self.recipes.get(passport["recipe"])
        if recipe is None:
            raise ConfigError(f"{wheel.name} was made from recipe '{passport['recipe']}', which is not here")
        return passport, recipe

    def tested_as(self, wheel: Path, name: str | None) -> tuple[Recipe, str, str, str]:
        """Recipe, version, Python and target by which to test a wheel: its passport's.

        A wheel that others built is tested by the recipe called ``name``, with the data of its first version.

        Raises:
            ConfigError: nothing says how, or there is no such recipe.
        """
        if name is None:
            passport, recipe = self.passport(wheel)
            return recipe, passport["version"], passport["python"], passport["target"]
        if name not in self.recipes:
            raise ConfigError(f"no recipe {name}; there are {', '.join(self.recipes)}")
        python = python_of(wheel, list(self.toolbox.toolchains.pythons))
        return self.recipes[name], next(iter(self.recipes[name].versions)), python, "generic"

    def examine(self, wheel: Path) -> stages.Wheel:
        """Audit and run a wheel of ours that lies anywhere, as its passport says."""
        passport, recipe = self.passport(wheel)
        build = make_build(
            recipe,
            version=passport["version"],
            python=passport["python"],
            target=passport["target"],
            backend=passport["backend"],
            required=False,
            targets=self.targets,
            ingredients=self.ingredients,
        )
        progress = self.live.for_build(build)
        audited = stages.Built(build=build, path=wheel, audit=self.workshop.audit(build, wheel, progress))
        return self.workshop.prove(audited, progress)

    def parts(self, builds: tuple[Build, ...]) -> list[str]:
        """The parts of the toolbox these builds need, in the order they are used."""
        wanted: dict[str, None] = {}
        for build in builds:
            for part in build.compile_inputs["toolchain"]:
                wanted[part] = None
            wanted[f"userland-{build.python}"] = None
        return [*wanted, "ccache", "qemu", "llvm", "pip"]


MatrixOption = Annotated[
    str, typer.Option("--matrix", metavar="NAME", help="A table of configs/matrices.toml.")
]


@app.command()
def plan(matrix: MatrixOption = "quick") -> None:
    """Print each build of a matrix: what is new, what is cached or published, and why.

    Of builds by Bazel it prints what they need and the command, as it would be run here.

    Example: armwheels plan --matrix quick
    """
    bench = Bench()
    builds = bench.builds(matrix)
    with nightly_room.open_index(bench.toolbox.home, write=False) as index:
        published = nightly_room.published_builds(index, builds)
    steps = make_plan(builds, bench.workshop.known(builds, published))
    notes = {
        one.id: planned(one, bench.toolbox.home, bench.workshop.work_folder(one))
        for one in builds
        if one.recipe.build.bazel is not None
    }
    out.print(console.plan_table(steps, notes), soft_wrap=True)


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Fetch what is missing.")] = False,
    matrix: MatrixOption = "quick",
) -> None:
    """Tell what this machine and the toolbox have, what is missing and what to do.

    Example: armwheels doctor --fix
    """
    bench = Bench()
    parts = bench.parts(bench.builds(matrix))
    if fix:
        # Fetching waits for the network, unpacking for one core.
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(bench.toolbox.ensure, parts))
    findings = doctor_room.examine(bench.toolbox, parts)
    out.print(doctor_room.draw(findings))
    if any(finding.fault for finding in findings):
        raise typer.Exit(1)


@app.command()
def lock(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Renew all pins; digests change with them.")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Resolve this recipe's requirements alone, and what it follows."
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="NAME", help="Pin this part of the toolbox anew, and no other."),
    ] = None,
) -> None:
    """Show what is pinned, or renew the pins by signed indices and hashed resolutions.

    Example: armwheels lock --recipe msgpack; armwheels lock --part ccache
    """
    toolchains = load_toolchains()
    recipes = stages.load_recipes()
    if recipe is not None and recipe not in recipes:
        raise ConfigError(f"no recipe '{recipe}'; there are {', '.join(recipes)}")
    say = console.Live(out).say
    chosen = [recipes[recipe]] if recipe else list(recipes.values()) if refresh else []
    fresh = None
    if refresh or part:
        kept = load_pins() if part else None
        fresh = lock_room.refresh_toolchains(
            toolchains, settings.home_dir(), say, only=tuple(part or ()), kept=kept
        )
    if fresh is not None:
        say(f"wrote {lock_room.write_pins(fresh)}")
    for one in chosen:
        for tag in toolchains.pythons:
            lock_room.refresh_requirements(one, tag, say)
    for one in chosen:  # last, so that a server that does not answer leaves all else pinned
        lock_room.refresh_followed(one, say)
    pins = load_pins()
    for name in sorted(pins.parts):
        files = pins.files(name)
        newest = f"{files[0].name} {files[0].version}" if files else "nothing"
        out.print(f"{name:20} {len(files):3} files  {pins.digest(name)[:12]}  {newest}", highlight=False)


@app.command()
def build(
    build_id: Annotated[str, typer.Argument(metavar="BUILD", help="An id as `armwheels plan` prints it.")],
    matrix: MatrixOption = "quick",
    component: Annotated[
        str | None,
        typer.Option(
            "--component", metavar="NAME", help="Build, link and run this part of the recipe alone."
        ),
    ] = None,
) -> None:
    """Compile, repair, audit and run one build, without publishing it.

    Example: armwheels build numpy-2.4.6-cp311-neoverse-v1-openblas
    """
    bench = Bench()
    builds = {one.id: one for one in bench.builds(matrix)}
    if build_id not in builds:
        raise ConfigError(f"matrix {matrix} has no build '{build_id}'; it has {', '.join(builds)}")
    if component is not None:
        with _stoppable(), bench.live():
            progress = bench.live.for_build(builds[build_id])
            folder, checks = bench.workshop.component(builds[build_id], component, progress)
        out.print(console.checks_table(checks), highlight=False)
        out.print(str(folder), highlight=False, soft_wrap=True)
        if any(check.outcome == "fail" for check in checks):
            raise typer.Exit(1)
        return
    with _stoppable(), bench.live():
        progress = bench.live.for_build(builds[build_id])
        wheel = bench.workshop.prove(bench.workshop.build(builds[build_id], progress), progress)
    out.print(console.verify_table(wheel.verify), highlight=False)
    out.print(f"{wheel.path}\nsha256 {wheel.sha256}", highlight=False, soft_wrap=True)
    if cost := bench.workshop.cost(wheel.build):
        out.print(f"compiled in {cost}", highlight=False, soft_wrap=True)
    if wheel.faults:
        err.print("\n".join(wheel.faults), highlight=False, markup=False)
        raise typer.Exit(1)


@app.command()
def verify(
    wheel: Annotated[Path, typer.Argument(metavar="WHEEL", help="A wheel, whoever built it.")],
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="T", help="Run it as this target; else as the passport's, or generic."
        ),
    ] = None,
    recipe_name: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Whose tests to run; else those of the passport's recipe."
        ),
    ] = None,
) -> None:
    """Install a wheel in a clean aarch64 environment and run its recipe's tests under emulation.

    Example: armwheels verify numpy-2.4.6+neoverse.v1-1_3fa9c2d1-cp311-cp311-manylinux_2_27_aarch64.whl
    """
    bench = Bench()
    recipe, version, python, own_target = bench.tested_as(wheel, recipe_name)
    report = verify_room.verify(
        wheel.resolve(),
        recipe=recipe,
        version=version,
        python=python,
        target=bench.targets[target or own_target],
        targets=bench.targets,
        toolbox=bench.toolbox,
        progress=bench.live.say,
    )
    out.print(console.verify_table(report), highlight=False)
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def publish(
    wheels: Annotated[list[Path], typer.Argument(metavar="WHEEL…", help="Wheels to appear together.")],
    channel: Annotated[str, typer.Option("--channel", help="The channel to move.")] = "nightly",
) -> None:
    """Audit and run wheels, upload them with what was found, and move a channel to them once.

    A wheel with a passport that fails either is refused; one that others built is uploaded as it is. The index is
    ARMWHEELS_INDEX with ARMWHEELS_TOKEN, else the local store.

    Example: armwheels publish dist/*.whl
    """
    bench = Bench()
    wheels = [wheel.resolve() for wheel in wheels]
    proven = [bench.examine(wheel) for wheel in wheels if auditing.open_wheel(wheel).passport is not None]
    if faults := [f"{wheel.path.name}: {fault}" for wheel in proven for fault in wheel.faults]:
        raise PublishError("nothing was uploaded:\n" + "\n".join(faults))
    session = secrets.token_urlsafe(24)
    with nightly_room.open_index(settings.home_dir()) as index:
        state = index.channel(channel)
        for path in track(wheels, description="uploading", console=out, transient=True):
            index.upload(path, session)
        for wheel in proven:
            nightly_room.put_evidence(index, wheel)
        made = index.make_snapshot(session, state)
        if made.id != state.snapshot:
            index.move(channel, made.id, state.serial, "armwheels publish")
    said = (
        f"{channel} moved to {made.id}"
        if made.id != state.snapshot
        else f"nothing new; {channel} stays at {made.id}"
    )
    out.print(said, highlight=False)


@app.command()
def nightly(
    matrix: MatrixOption = "quick",
    channel: Annotated[str, typer.Option("--channel", help="The channel to move.")] = "nightly",
) -> None:
    """Build what is new of a matrix, publish it as one snapshot and move the channel once.

    Killed at any moment, the same command goes on from there. Exit code 11: a build is missing. Where the matrix is
    `closed`, others' wheels that its own depend on are taken into the channel afterwards.

    Example: armwheels nightly --matrix quick
    """
    bench = Bench()
    builds = bench.builds(matrix)
    with _stoppable(), nightly_room.open_index(bench.toolbox.home) as index, bench.live():
        report = nightly_room.run_nightly(
            matrix,
            builds,
            bench.workshop,
            index,
            channel=channel,
            progress_for=bench.live.for_build,
            on_plan=lambda steps: out.print(console.plan_table(steps), highlight=False, soft_wrap=True),
            on_cell=lambda cell: out.print(console.cell_line(cell), highlight=False, soft_wrap=True),
        )
    out.print(
        console.nightly_table(report, os.environ.get("ARMWHEELS_INDEX")), highlight=False, soft_wrap=True
    )
    if stages.load_matrix(matrix).closed and not any(cell.build.required for cell in report.missing):
        advice = nightly_room.close_channel(matrix, builds, bench.toolbox.home, channel=channel)
        if advice:
            out.print(f"what they depend on, where the index is: {advice}", highlight=False, soft_wrap=True)
    if report.missing:
        raise IncompleteError(f"{len(report.missing)} of {len(report.cells)} builds are missing")


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def python(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG]…", help="What Python is to run.")
    ] = None,
    target: Annotated[str, typer.Option("--target", metavar="T", help="The CPU to emulate.")] = "neoverse-v1",
    tag: Annotated[
        str, typer.Option("--python", metavar="TAG", help="Which CPython, as in wheel tags.")
    ] = "cp311",
    environment: Annotated[
        Path | None,
        typer.Option("--venv", metavar="DIR", help="A virtual environment, made if it is not there."),
    ] = None,
) -> None:
    """Run the toolbox's aarch64 Python, pip included, on an emulated CPU.

    Example: armwheels python --venv var/try -- -m pip install --index-url URL numpy
    """
    toolbox = Toolbox(console.Live(err).say)
    emulated = EmulatedPython(toolbox, tag, model_of(stages.load_targets()[target]).cpu)
    folder = environment.resolve() if environment else None
    if folder is not None and not folder.is_dir():
        emulated.create_environment(folder)
    command = emulated.command(arguments or [], environment=folder)
    raise typer.Exit(subprocess.run(command, env=emulated.variables(), check=False).returncode)


for command in (*channels_room.COMMANDS, *bench_room.COMMANDS):
    app.command()(command)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM (of a CI job or a service that ends) stop all that runs for a build, and lose nothing."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        end_children()
        raise StoppedError("stopped; what is done is kept, and the same command goes on from there") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Run the command; an :class:`ArmwheelsError` ends it with that error's exit code."""
    try:
        app()
    except ArmwheelsError as error:
        _end(error)
    except OSError as error:
        if (full := as_disk_error(error)) is None:
            raise
        _end(full)


def _end(error: ArmwheelsError) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
    sys.exit(error.exit_code)
