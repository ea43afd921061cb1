"""A promotion waits for its gates, in an engine that skips the time."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from builder.fleet.model import CONTROL, Promoted, Promotion, Try
from builder.fleet.promotion import PromotionWorkflow, settled
from builder.index.client import MoveEntry

SERVER = str(Path(sys.executable).parent / "temporal-test-server")
ASKED = Promotion(channel="stable", source="nightly", days=3)
NOW = datetime(2026, 11, 28, 3, tzinfo=UTC)


class Gate:
    """A gate that opens after some hours."""

    def __init__(self, hours: float) -> None:
        self.hours = hours
        self.tried: list[datetime] = []
        self.nonces: set[str] = set()

    @activity.defn
    async def promote(self, given: Try) -> Promoted:
        self.tried.append(datetime.fromisoformat(given.now))
        self.nonces.add(given.nonce)
        closed = self.tried[-1] - self.tried[0] < timedelta(hours=self.hours)
        return Promoted(
            snapshot="20261125-1",
            moved=not closed,
            waits=closed,
            detail="one approval is missing" if closed else "stable moved to 20261125-1",
        )


def promoted(gate: Gate, asked: Promotion = ASKED) -> Promoted:
    async def run() -> Promoted:
        async with (
            await WorkflowEnvironment.start_time_skipping(
                test_server_existing_path=SERVER, data_converter=pydantic_data_converter
            ) as environment,
            Worker(
                environment.client,
                task_queue=CONTROL,
                workflows=[PromotionWorkflow],
                activities=[gate.promote],
            ),
        ):
            return await environment.client.execute_workflow(
                PromotionWorkflow.run, asked, id="promotion", task_queue=CONTROL
            )

    return asyncio.run(run())


def test_a_promotion_waits_until_its_gate_opens() -> None:
    gate = Gate(hours=5)
    done = promoted(gate)
    assert (done.moved, done.detail) == (True, "stable moved to 20261125-1")
    assert timedelta(hours=5) <= gate.tried[-1] - gate.tried[0] < timedelta(hours=5.3)
    assert len(gate.tried) in (21, 22)  # every quarter of an hour
    assert len(gate.nonces) == 1


def test_a_promotion_gives_up_with_the_reason_before_the_next_one_starts() -> None:
    gate = Gate(hours=50)
    done = promoted(gate)
    assert (done.moved, done.detail) == (False, "one approval is missing")
    assert timedelta(hours=19.7) < gate.tried[-1] - gate.tried[0] <= timedelta(hours=20)


def move(serial: int, snapshot: str, days_ago: float) -> MoveEntry:
    at = (NOW - timedelta(days=days_ago)).isoformat()
    return MoveEntry(serial=serial, snapshot=snapshot, at=at, by="night", approvals=(), message="")


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([], None),
        ([move(1, "a", 2)], None),
        ([move(1, "a", 5), move(2, "b", 4), move(3, "c", 1)], "b"),
        ([move(1, "a", 9), move(2, "b", 8), move(3, "a", 7), move(4, "c", 1)], "a"),
        ([move(1, "a", 9), move(2, "b", 8), move(3, "a", 7), move(4, "b", 6)], "b"),
    ],
    ids=["no move", "too new", "the newest old one", "rolled back from b", "b again"],
)
def test_the_newest_settled_snapshot(moves: list[MoveEntry], expected: str | None) -> None:
    assert settled(moves, NOW, 3) == expected
