"""The commands ``armwheels schedule`` and ``armwheels engine``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from builder.commands.build import stoppable
from builder.commands.configs import read_configs
from builder.commands.terminal import out
from builder.errors import ConfigError
from builder.settings import home_dir, lease_seconds, temporal_address

if TYPE_CHECKING:
    from builder.fleet.connection import Client

T = TypeVar("T")
schedule = typer.Typer(
    help="Start nights and promotions at set times, by the cluster of ARMWHEELS_TEMPORAL.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]


def engine(
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port on loopback.")] = 7233,
) -> None:
    """Serve Temporal on loopback until Ctrl-C, for the workers and schedules of one machine.

    Its state is the file `engine/served.db` in the state folder. It is Temporal's development server: a fleet of
    several machines needs a cluster.

    Example: armwheels engine --port 7233
    """
    from builder.fleet.engine import served_engine

    with stoppable(), served_engine(home_dir(), port) as running:
        out.print(
            f"Temporal serves {running.address}; set ARMWHEELS_TEMPORAL={running.address}", highlight=False
        )
        threading.Event().wait()


@schedule.command()
def add(
    name: NameArgument,
    cron: Annotated[str, typer.Option("--cron", metavar="EXPR", help="Cron expression: '0 3 * * *'.")],
    zone: Annotated[str, typer.Option("--zone", metavar="TZ", help="Time zone of the expression.")] = "UTC",
    matrix: Annotated[str | None, typer.Option("--matrix", metavar="NAME", help="Build this matrix.")] = None,
    channel: Annotated[str, typer.Option("--channel", help="Channel that the night moves.")] = "nightly",
    promote: Annotated[
        str | None, typer.Option("--promote", metavar="CHANNEL", help="Promote to this channel instead.")
    ] = None,
    days: Annotated[
        float, typer.Option("--days", min=0, help="Days for which --channel must have shown the snapshot.")
    ] = 3,
) -> None:
    """Add a schedule: a night over a matrix, or a promotion of what a channel has shown for some days.

    A start is refused while the one before runs. After downtime one missed start is caught up with. A promotion
    whose gates are closed is tried again every quarter of an hour for 20 hours.

    Example: armwheels schedule add nights --cron "0 3 * * *" --zone Europe/Berlin --matrix quick
    """
    if (matrix is None) == (promote is None):
        raise ConfigError("name either --matrix or --promote")
    address = _address()
    from builder.fleet import schedules
    from builder.fleet.model import Order, Promotion

    order: Order | Promotion
    if matrix is not None:
        read_configs().matrix(matrix)
        order = Order(matrix=matrix, channel=channel, lease=lease_seconds())
    else:
        order = Promotion(channel=str(promote), source=channel, days=days)
    schedules.check(name, cron, zone)
    _ask(address, lambda client: schedules.add(client, name, cron, zone, order))
    out.print(f"added {name}: {schedules.describe(order)}", highlight=False, markup=False)


@schedule.command("list")
def list_() -> None:
    """List the schedules, with their last and next start in UTC.

    Example: armwheels schedule list
    """
    address = _address()
    from builder.fleet import schedules

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what", "when", "state", "last", "next", "started", "refused"):
        table.add_column(heading)
    for line in _ask(address, schedules.lines):
        table.add_row(
            *(line.name, line.what, line.when, line.state, line.last, line.next),
            *(str(line.started), str(line.refused)),
        )
    out.print(table)


@schedule.command()
def pause(name: NameArgument) -> None:
    """Start nothing until `resume`.

    Example: armwheels schedule pause nights
    """
    _change(name, "pause", "paused")


@schedule.command()
def resume(name: NameArgument) -> None:
    """End a pause.

    Example: armwheels schedule resume nights
    """
    _change(name, "resume", "resumed")


@schedule.command()
def run(name: NameArgument) -> None:
    """Start now, unless it runs.

    Example: armwheels schedule run nights
    """
    _change(name, "trigger", "started")


@schedule.command()
def remove(name: NameArgument) -> None:
    """Delete a schedule. What it started goes on.

    Example: armwheels schedule remove nights
    """
    _change(name, "remove", "removed")


def _change(name: str, how: str, done: str) -> None:
    address = _address()
    from builder.fleet import schedules

    change: Callable[[Client, str], Awaitable[None]] = getattr(schedules, how)
    _ask(address, lambda client: change(client, name))
    out.print(f"{done} {name}", highlight=False, markup=False)


def _address() -> str:
    address = temporal_address()
    if address is None:
        raise ConfigError(
            "schedules live in a running engine: start `armwheels engine`, and name it with ARMWHEELS_TEMPORAL"
        )
    return address


def _ask(address: str, question: Callable[[Client], Awaitable[T]]) -> T:
    from builder.fleet.connection import connect

    async def ask() -> T:
        return await question(await connect(address))

    return asyncio.run(ask())
