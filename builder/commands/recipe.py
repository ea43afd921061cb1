"""The commands ``armwheels recipe new`` and ``armwheels recipe update``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder import settings
from builder.commands.configs import read_configs
from builder.commands.terminal import err, out
from builder.errors import ConfigError
from builder.load import load_configs
from builder.plan import no_python
from builder.recipes.new import Written, examine, new_recipe
from builder.recipes.update import move_to, newest_version
from builder.refresh import built_pythons, refresh_requirements

recipe = typer.Typer(
    help="Write a recipe for a project of pip's index, or move a recipe to the newest version.",
    no_args_is_help=True,
)
LockOption = Annotated[
    bool, typer.Option("--lock/--no-lock", help="Whether to pin the build and test requirements, too.")
]


@recipe.command()
def new(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Name of the project on pip's index.")],
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Version. Default: the newest final one.")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            "--python", metavar="TAG", help="Python to build for; repeatable. Default: all that it supports."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="T",
            help="CPU target to build for; repeatable. Default: generic, neoverse-n1 and neoverse-v1.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a recipe and a test script.")] = False,
    lock: LockOption = True,
) -> None:
    """Write a recipe, a test script and a matrix for a project, and pin its requirements.

    The files go to the first folder of ARMWHEELS_RECIPES, else to configs/recipes. Comments of the recipe say what
    was guessed. A project that is pure Python, or that cannot be built, is refused with the reason (exit code 3).

    Example: armwheels recipe new ujson --python cp313
    """
    configs = read_configs()
    if unknown := [tag for tag in python or () if tag not in configs.toolchains.pythons]:
        raise ConfigError("\n".join(no_python(tag, configs.toolchains.pythons) for tag in unknown))
    subject = examine(project, version, configs.toolchains, settings.home_dir(), _say, python or ())
    written = new_recipe(subject, configs, targets=target or (), pythons=python or (), force=force)
    for path in written.files:
        _print(f"wrote {path}")
    for guess in written.guesses:
        _print(f"guess: {guess}")
    if written.cells:
        _print(f"matrix {written.name} exists already; to build this version, add\n{written.cells}")
    if lock:
        made = load_configs(without_broken=True).recipe(written.name)
        for tag in written.pythons:
            refresh_requirements(made, tag, _say)
    _print(_next(written, locked=lock))


@recipe.command()
def update(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Recipe to update.")],
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Version. Default: the newest final one.")
    ] = None,
    lock: LockOption = True,
) -> None:
    """Move a recipe to the newest version of its project, and say what changed.

    The recipe, the cells of matrices that build its newest version, and its lock files are renewed.

    Exit code 1: a patch no longer applies.

    Example: armwheels recipe update msgpack
    """
    configs = read_configs()
    before = configs.recipe(name)
    files, changes = move_to(before, version, configs.toolchains, settings.home_dir(), _say)
    if not files:
        _print(f"recipe {name} has version {newest_version(before)[0]} already")
        return
    for change in changes:
        _print(change.what)
    for path in files:
        _print(f"wrote {path}")
    renewed = load_configs(without_broken=True)
    if lock:
        for tag in built_pythons(name, renewed.matrices):
            refresh_requirements(renewed.recipe(name), tag, _say)
    if any(change.fault for change in changes):
        raise typer.Exit(1)


def _next(written: Written, *, locked: bool) -> str:
    first = f"{written.name}-{written.version}-{written.pythons[0]}-{written.targets[0]}"
    first += "" if written.backend == "none" else f"-{written.backend}"
    steps = [] if locked else [f"armwheels lock --recipe {written.name}"]
    steps.append(f"armwheels build {first} --matrix {written.matrix or written.name}")
    return "next: " + " && ".join(steps)


def _print(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _say(text: str) -> None:
    err.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)
