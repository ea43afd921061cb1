"""Promotion as a workflow: take the newest settled snapshot of a channel, and wait until its gates are open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from builder.fleet.model import CONTROL, Promoted, Promotion, Try
from builder.index.client import MoveEntry

_LIMIT = timedelta(minutes=10)  # for one request to move a channel


@workflow.defn(name="armwheels-promotion", sandboxed=False)
class PromotionWorkflow:
    """Move a channel to a snapshot of another one as soon as its gates are open, or give up with the reason."""

    def __init__(self) -> None:
        self._waiting_for = ""

    @workflow.query
    def waiting_for(self) -> str:
        """Why the channel has not moved yet."""
        return self._waiting_for

    @workflow.run
    async def run(self, asked: Promotion) -> Promoted:
        end = workflow.now() + timedelta(seconds=asked.patience)
        while True:
            given = Try(asked=asked, now=workflow.now().isoformat(), nonce=workflow.info().run_id)
            try:
                done: Promoted = await workflow.execute_activity(
                    "promote",
                    given,
                    task_queue=CONTROL,
                    result_type=Promoted,
                    start_to_close_timeout=_LIMIT,
                    retry_policy=RetryPolicy(maximum_attempts=3),
                )
            except ActivityError as error:
                cause = error.cause
                reason = cause.message if isinstance(cause, ApplicationError) else str(cause)
                done = Promoted(snapshot=None, moved=False, waits=True, detail=reason)
            self._waiting_for = done.detail if done.waits else ""
            if not done.waits or workflow.now() + timedelta(seconds=asked.every) > end:
                return done
            await workflow.sleep(asked.every)


def settled(moves: Sequence[MoveEntry], now: datetime, days: float) -> str | None:
    """The newest snapshot of a channel that it has shown for ``days`` days without a rollback behind it. Pure.

    A snapshot that the channel left for an older one is not settled, however old it is.
    """
    found: str | None = None
    shown: list[str] = []
    for move in moves:
        if move.snapshot in shown:  # a way back: what came after it was not good
            shown = shown[: shown.index(move.snapshot) + 1]
        else:
            shown.append(move.snapshot)
    first: dict[str, datetime] = {}
    for move in moves:
        first.setdefault(move.snapshot, datetime.fromisoformat(move.at))
    for snapshot in shown:
        if now - first[snapshot] >= timedelta(days=days):
            found = snapshot
    return found
