"""Schedules on Temporal's development server, by a real clock: its time-skipping server has no schedules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from builder.errors import ConfigError
from builder.fleet import schedules
from builder.fleet.connection import connect
from builder.fleet.engine import LocalEngine
from builder.fleet.model import CONTROL, Night, Order, Plan, Publication, Published, Snapshot
from builder.fleet.workflow import NightWorkflow

pytestmark = pytest.mark.slow
ORDER = Order(matrix="demo", channel="nightly", lease=30)
EVERY = 5
EVERY_FIVE_SECONDS = f"*/{EVERY} * * * * * *"  # the first field of seven is seconds


class Nights:
    """Nights that build nothing and end when they may."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    @activity.defn
    async def plan(self, order: Order) -> Plan:
        self.begun += 1
        waiting = asyncio.ensure_future(self.may_end.wait())
        while not waiting.done():
            activity.heartbeat()
            await asyncio.wait((waiting,), timeout=1)
        return Plan(night=f"night-{self.begun}", steps=(), session="s" * 22, snapshot=None)

    @activity.defn
    async def snapshot(self, asked: Publication) -> Snapshot:
        return Snapshot(id=None, serial=0, before=None)

    @activity.defn
    async def move(self, given: tuple[Publication, Snapshot]) -> Published:
        return Published(snapshot=None, moved=False, detail="nothing was built")

    @activity.defn
    async def report(self, night: Night) -> None:
        pass


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await holds():
            await asyncio.sleep(0.2)


async def the_line(client: Client) -> schedules.Line:
    [line] = await schedules.lines(client)
    return line


def test_overlap_is_refused_and_one_missed_start_is_caught_up_with(tmp_path: Path) -> None:
    async def run() -> None:
        engine = LocalEngine(tmp_path / "engine.db")
        engine.start()
        try:
            client = await connect(engine.address)
            nights = Nights()
            worker = Worker(
                client,
                task_queue=CONTROL,
                workflows=[NightWorkflow],
                activities=[nights.plan, nights.snapshot, nights.move, nights.report],
                graceful_shutdown_timeout=timedelta(0),
            )
            async with worker:
                await schedules.add(client, "nights", EVERY_FIVE_SECONDS, "Europe/Berlin", ORDER)
                with pytest.raises(ConfigError, match="there is a schedule nights already"):
                    await schedules.add(client, "nights", "0 3 * * *", "UTC", ORDER)

                async def two_refused() -> bool:
                    return (await the_line(client)).refused >= 2

                await until(two_refused)
                assert nights.begun == 1
                assert (await the_line(client)).state == "running"

                await schedules.pause(client, "nights")
                nights.may_end.set()

                async def ended() -> bool:
                    return (await the_line(client)).state == "paused"

                await until(ended)
                started = (await the_line(client)).started
                await schedules.trigger(client, "nights")

                async def ran() -> bool:
                    return nights.begun == 2

                await until(ran)
                assert (await the_line(client)).started == started + 1

                # The next night waits again. The engine is away for at least two starts.
                nights.may_end = asyncio.Event()
                before = nights.begun
                await asyncio.sleep(EVERY - time.time() % EVERY + 0.2)  # the next start is not at once
                await schedules.resume(client, "nights")

                async def resumed() -> bool:
                    return (await the_line(client)).state != "paused"

                await until(resumed)
                engine.stop(delete=False)
                await asyncio.sleep(12)
                back_at = datetime.now(UTC)
                engine = LocalEngine(engine.file, port=engine.port)
                engine.start()
                client = await connect(engine.address)

                async def caught_up() -> bool:
                    return nights.begun > before

                await until(caught_up)
                line = await the_line(client)
                assert nights.begun == before + 1
                assert line.refused >= 2
                info = (await client.get_schedule_handle("nights").describe()).info
                assert info.recent_actions[-1].scheduled_at < back_at
                nights.may_end.set()
                await schedules.remove(client, "nights")
                assert await schedules.lines(client) == []
                with pytest.raises(ConfigError, match="there is no schedule nights"):
                    await schedules.pause(client, "nights")
        finally:
            engine.stop()

    asyncio.run(run())
