"""The command ``armwheels lock``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder import refresh as renewal
from builder import settings
from builder.commands import console
from builder.commands.configs import read_configs
from builder.commands.terminal import out
from builder.errors import ConfigError
from builder.load import load_configs
from builder.plan import no_python
from builder.toolbox.pins import load_pins


def lock(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Renew all pins. The digests of all wheels change.")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Renew the requirements of this recipe, and what it follows."
        ),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            "--python",
            metavar="TAG",
            help="With --recipe: renew the requirements for this Python, and nothing else; repeatable. "
            "Default: the Pythons for which a matrix builds the recipe.",
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part", metavar="NAME", help="Renew the pins of this part of the toolbox; repeatable."
        ),
    ] = None,
) -> None:
    """Show the pins of the toolbox, or renew pins from Debian's signed indices and pip's index.

    Pins are kept in `configs/toolchains.lock` and `configs/locks`.

    Libraries from wheels are pinned by hand in `configs/recipes`: run `armwheels libraries` before.

    Example: armwheels lock --recipe msgpack --python cp313
    """
    configs = read_configs() if recipe or part else load_configs()
    toolchains = configs.toolchains
    if python and not recipe:
        raise ConfigError("--python needs --recipe: it renews the requirements of one recipe for one Python")
    if unknown := [tag for tag in python or () if tag not in toolchains.pythons]:
        raise ConfigError("\n".join(no_python(tag, toolchains.pythons) for tag in unknown))
    say = console.Live(out).say
    chosen = [configs.recipe(recipe)] if recipe else list(configs.recipes.values()) if refresh else []
    renewed = None
    if refresh or part:
        kept = load_pins() if part else None
        renewed = renewal.refresh_toolchains(
            toolchains, settings.home_dir(), say, only=tuple(part or ()), kept=kept
        )
    if renewed is not None:
        say(f"wrote {renewal.write_pins(renewed)}")
    for one in chosen:
        for tag in python or renewal.built_pythons(one.name, configs.matrices):
            renewal.refresh_requirements(one, tag, say)
    for one in () if python else chosen:  # last: if a server does not answer, all other pins are written
        renewal.refresh_followed(one, say)
    pins = load_pins()
    for name in sorted(pins.parts):
        files = pins.files(name)
        newest = f"{files[0].name} {files[0].version}" if files else "nothing"
        out.print(f"{name:20} {len(files):3} files  {pins.digest(name)[:12]}  {newest}", highlight=False)
