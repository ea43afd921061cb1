"""The command ``armwheels lock``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder import refresh as lock_room
from builder import settings
from builder.commands import console
from builder.commands.console import out
from builder.load import load_configs
from builder.toolbox.pins import load_pins


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
    configs = load_configs()
    toolchains = configs.toolchains
    say = console.Live(out).say
    chosen = [configs.recipe(recipe)] if recipe else list(configs.recipes.values()) if refresh else []
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
