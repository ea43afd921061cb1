"""Schedules of nights and promotions, which Temporal keeps and starts."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.service import RPCError, RPCStatusCode

from builder.errors import ConfigError, EngineError
from builder.fleet.model import CONTROL, Order, Promotion
from builder.fleet.promotion import PromotionWorkflow
from builder.fleet.workflow import NightWorkflow
from builder.model.base import Frozen

CATCH_UP = timedelta(days=1)
"""How long ago a start may have been missed to be caught up with. Of several missed ones, one is."""
T = TypeVar("T")


class Line(Frozen):
    """A schedule as the list shows it; times are in UTC, ISO 8601."""

    name: str
    what: str
    when: str
    state: str
    last: str
    next: str
    started: int
    refused: int
    """Starts that were left out because the one before was still running."""


async def add(client: Client, name: str, cron: str, zone: str, order: Order | Promotion) -> None:
    """Create a schedule: a cron expression (crontab(5)) in a time zone of the IANA database.

    A start is refused while the one before runs. After downtime one missed start is caught up with.

    Raises:
        ConfigError: the expression or the zone is wrong, or the name is taken.
    """
    check(name, cron, zone)
    action = (
        ScheduleActionStartWorkflow(
            NightWorkflow.run,
            order,
            id=f"scheduled-{name}",
            task_queue=CONTROL,
            static_summary=describe(order),
        )
        if isinstance(order, Order)
        else ScheduleActionStartWorkflow(
            PromotionWorkflow.run,
            order,
            id=f"scheduled-{name}",
            task_queue=CONTROL,
            static_summary=describe(order),
        )
    )
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(cron_expressions=[cron], time_zone_name=zone),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        state=ScheduleState(note=f"{cron} {zone}: {describe(order)}"),
    )
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        raise ConfigError(f"there is a schedule {name} already; remove it first") from None
    except RPCError as error:
        raise _explained(error, name) from error


def check(name: str, cron: str, zone: str) -> None:
    """Refuse what Temporal would misread.

    Raises:
        ConfigError: with every fault.
    """
    faults = []
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        faults.append("the name of a schedule has lower-case letters, digits and single dashes")
    if not cron.startswith("@") and len(cron.split()) not in (5, 6, 7):
        faults.append(
            f"{cron!r} is no cron expression: write minute, hour, day, month and weekday: '0 3 * * *'"
        )
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        faults.append(f"{zone!r} is no time zone of the IANA database, such as Europe/Berlin")
    if faults:
        raise ConfigError("\n".join(faults))


def describe(order: Order | Promotion) -> str:
    """What a schedule starts, in words."""
    if isinstance(order, Order):
        return f"matrix {order.matrix} to {order.channel}"
    return f"{order.channel} from {order.source} after {order.days:g} days"


async def lines(client: Client) -> list[Line]:
    """All schedules."""
    found = []
    async for listed in await client.list_schedules():
        state = await _patient(client.get_schedule_handle(listed.id).describe(), listed.id)
        when, _, what = (state.schedule.state.note or "").partition(": ")
        last = state.info.recent_actions[-1] if state.info.recent_actions else None
        coming = state.info.next_action_times
        idle = "paused" if state.schedule.state.paused else "waits"
        found.append(
            Line(
                name=listed.id,
                what=what,
                when=when,
                state="running" if state.info.running_actions else idle,
                last=f"{last.started_at:%Y-%m-%dT%H:%M:%SZ}" if last else "",
                next=f"{coming[0]:%Y-%m-%dT%H:%M:%SZ}" if coming and not state.schedule.state.paused else "",
                started=state.info.num_actions,
                refused=state.info.num_actions_skipped_overlap,
            )
        )
    return sorted(found, key=lambda line: line.name)


async def pause(client: Client, name: str) -> None:
    """Start nothing until :func:`resume`."""
    await _patient(_handle(client, name).pause(), name)


async def resume(client: Client, name: str) -> None:
    """End a pause. What was due meanwhile is left out."""
    await _patient(_handle(client, name).unpause(), name)


async def trigger(client: Client, name: str) -> None:
    """Start now, unless it runs."""
    await _patient(_handle(client, name).trigger(overlap=ScheduleOverlapPolicy.SKIP), name)


async def remove(client: Client, name: str) -> None:
    """Delete the schedule. What it started goes on."""
    await _patient(_handle(client, name).delete(), name)


def _handle(client: Client, name: str) -> ScheduleHandle:
    return client.get_schedule_handle(name)


async def _patient(asked: Awaitable[T], name: str) -> T:
    try:
        return await asked
    except RPCError as error:
        raise _explained(error, name) from error


def _explained(error: RPCError, name: str) -> ConfigError | EngineError:
    if error.status == RPCStatusCode.NOT_FOUND:
        return ConfigError(f"there is no schedule {name}; `armwheels schedule list` shows those there are")
    if error.status == RPCStatusCode.INVALID_ARGUMENT:
        return ConfigError(f"schedule {name}: {error}")
    return EngineError(f"the engine does not answer: {error}")
