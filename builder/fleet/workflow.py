"""The workflow of a night: plan, build each wheel, make one snapshot, move the channel.

Temporal runs this code again from its history whenever a worker takes the workflow over. So it reads no clock, no
environment and no file; all that is done by the activities of :mod:`builder.fleet.activities`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

from builder.fleet.model import (
    CONTROL,
    CROSS,
    Finished,
    Night,
    Order,
    Plan,
    Planned,
    Publication,
    Published,
    Result,
    Snapshot,
    Stage,
    Task,
)

T = TypeVar("T")
_FOR_EVER = timedelta(days=14)  # a stage ends by its heartbeats; Temporal wants a limit all the same
_ONCE = RetryPolicy(maximum_attempts=1)  # this workflow decides about each retry, and keeps the reason
FAILURES = 4
"""Attempts of a stage that fail for different reasons. The same reason twice ends a build at once."""
WAITS = 12
"""Attempts while the index does not answer, or answers 5xx; with the pauses that is ten minutes."""
LOSSES = 4
"""Workers that a build may lose: a build that takes all the memory of its host takes the worker along."""
_PAUSES = (1.0, 10.0, 60.0)  # seconds before the next attempt
CERTAIN = frozenset({"ConfigError"})
"""Errors that another attempt cannot change."""
PASSING = "UnreachableError"
"""The error of an index that does not answer. It says nothing about the build."""

_OUTCOMES = {"new": "built", "compiled": "finished", "built": "finished", "published": "published before"}


class _LostError(Exception):
    """The host on which the earlier outputs of a build lie is gone."""


@workflow.defn(name="armwheels-night", sandboxed=False)
class NightWorkflow:
    """One night over a matrix."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._results: list[Result] = []
        self._takeovers = 0
        self._lease = timedelta(minutes=1)

    @workflow.query
    def plan(self) -> Plan | None:
        """The plan, once it is made."""
        return self._plan

    @workflow.query
    def results(self) -> tuple[Result, ...]:
        """The builds that have ended, in the order in which they did."""
        return tuple(self._results)

    @workflow.signal
    def take_over(self) -> None:
        """All workers are gone, which only the owner of an engine of its own can know: begin their stages anew."""
        self._takeovers += 1

    @workflow.run
    async def run(self, order: Order) -> Night:
        self._lease = timedelta(seconds=order.lease)
        began = workflow.now()
        self._plan = plan = await self._stage("plan", order, CONTROL, Plan)
        await asyncio.gather(*(self._cell(order, plan, step) for step in plan.steps))
        place = {step.build: number for number, step in enumerate(plan.steps)}
        results = tuple(sorted(self._results, key=lambda result: place[result.build]))
        published = await self._publish(order, plan, results)
        night = Night(
            night=plan.night,
            matrix=order.matrix,
            channel=order.channel,
            results=results,
            published=published,
            began=began.isoformat(),
        )
        with suppress(ApplicationError, _LostError):  # the night is published all the same
            await self._stage("report", night, CONTROL, None)
        return night

    async def _cell(self, order: Order, plan: Plan, step: Planned) -> None:
        """Build one wheel; a failure is its result."""
        try:
            result = await self._built(order, plan, step)
        except ApplicationError as error:
            result = Result(build=step.build, required=step.required, outcome="failed", detail=error.message)
        self._results.append(result)

    async def _built(self, order: Order, plan: Plan, step: Planned) -> Result:
        def task(attempt: int) -> Task:
            return Task(
                night=plan.night,
                matrix=order.matrix,
                build=step.build,
                wheel_digest=step.wheel_digest,
                session=plan.session,
                snapshot=plan.snapshot,
                attempt=attempt,
                sha256=step.sha256,
            )

        if step.filename is not None and step.held_on is None:
            await self._stage("adopt", (task(1), step.filename), CONTROL, None)
            return Result(
                build=step.build,
                required=step.required,
                outcome=_OUTCOMES[step.state],
                filename=step.filename,
                sha256=step.sha256,
                detail=step.detail,
            )
        for attempt in range(1, LOSSES + 1):
            try:
                return await self._stages(step, task(attempt))
            except _LostError as error:
                lost = str(error)
        raise ApplicationError(f"{lost}; that was the worker number {LOSSES} that this build lost")

    async def _stages(self, step: Planned, task: Task) -> Result:
        """The stages of a build. All after the compile run on its host, which has the wheel.

        Raises:
            _LostError: the host is gone.
        """
        stages: list[Stage] = []
        found: dict[str, Finished] = {}

        async def run(name: str, queue: str) -> Finished:
            done = await self._stage(name, task, queue, Finished)
            stages.append(Stage(name=name, host=done.host, seconds=done.seconds))
            found[name] = done
            return done

        if step.held_on is None:
            host = (await run("compile", CROSS)).host
            await run("repair", host)
        else:
            host = step.held_on
        audit = await run("audit", host)
        verify = await run("verify", f"{host}-proof")
        faults = (*audit.faults, *verify.faults)
        if not faults:
            faults = (await run("bench", f"{host}-proof")).faults
        if not faults:
            await run("upload", host)
        bench, cost = found.get("bench"), found.get("compile")
        return Result(
            build=step.build,
            required=step.required,
            outcome="refused" if faults else _OUTCOMES[step.state],
            filename=None if faults else audit.filename,
            sha256=None if faults else audit.sha256,
            detail="\n".join(faults),
            size=audit.size,
            lesser=verify.note,
            bench=bench.note if bench else "",
            speed=bench.speed if bench else None,
            cpu_seconds=cost.cpu_seconds if cost else 0.0,
            shared=cost.shared if cost else 0,
            compiled=cost.compiled if cost else 0,
            stages=tuple(stages),
            attempts=task.attempt,
        )

    async def _publish(self, order: Order, plan: Plan, results: tuple[Result, ...]) -> Published:
        """Make one snapshot and move the channel to it; once more if somebody moved it in between."""
        asked = Publication(
            matrix=order.matrix,
            channel=order.channel,
            session=plan.session,
            files=tuple(result.filename for result in results if result.filename is not None),
            missing=tuple(result.build for result in results if result.missing and result.required),
            nonce=plan.night,
        )
        made = await self._stage("snapshot", asked, CONTROL, Snapshot)
        return await self._stage("move", (asked, made), CONTROL, Published)

    async def _stage(self, name: str, given: object, queue: str, gives: type[T] | None) -> T:
        """Run an activity until it succeeds, fails twice the same way, or fails too often.

        Raises:
            ApplicationError: it failed for good; the message is the reason.
            _LostError: no worker serves the queue of its host any more, or the worker died.
        """
        seen: list[str] = []
        losses = 0
        while True:
            try:
                return await self._attempt(name, given, queue, gives)
            except ActivityError as error:
                cause = error.cause
                if isinstance(cause, ActivityTimeout):
                    if await self._waits(cause, queue):
                        continue
                    losses += 1
                    if queue == CONTROL and losses < LOSSES:  # any worker can do it
                        continue
                    raise _LostError(f"the worker was lost during {name}") from error
                if not isinstance(cause, ApplicationError):
                    raise ApplicationError(f"{name}: {cause}", non_retryable=True) from error
                passing = cause.type == PASSING
                again = cause.message in seen and not passing
                seen.append(cause.message)
                if cause.type in CERTAIN or again or len(seen) == (WAITS if passing else FAILURES):
                    raise ApplicationError(
                        _reason(cause.message, len(seen), again=again),
                        type=cause.type,
                        non_retryable=True,
                    ) from error
                await workflow.sleep(_PAUSES[min(len(seen), len(_PAUSES)) - 1])

    async def _attempt(self, name: str, given: object, queue: str, gives: type[T] | None) -> T:
        """Run an activity once, or anew after a takeover."""
        while True:
            before = self._takeovers
            running: workflow.ActivityHandle[T] = workflow.start_activity(
                name,
                given,
                task_queue=queue,
                result_type=gives,
                start_to_close_timeout=_FOR_EVER,
                # A queue that all may serve is waited for; that of one host only as long as the host lives.
                schedule_to_start_timeout=None if queue in (CONTROL, CROSS) else self._lease,
                heartbeat_timeout=self._lease,
                retry_policy=_ONCE,
                # Not ABANDON: the late timeout of an abandoned activity damages the workflow (temporalio 1.35).
                cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            )
            await workflow.wait_condition(partial(self._is_over, running, before))
            if running.done():
                return await running
            running.cancel()
            with suppress(ActivityError):  # which says that it was cancelled
                await running

    def _is_over(self, running: workflow.ActivityHandle[T], before: int) -> bool:
        return running.done() or self._takeovers > before

    async def _waits(self, timeout: ActivityTimeout, queue: str) -> bool:
        """Whether a stage only waits for a host that lives, and is busy with others."""
        if timeout.type is not TimeoutType.SCHEDULE_TO_START:
            return False
        try:
            await workflow.execute_activity(
                "pulse",
                task_queue=f"{queue.removesuffix('-proof')}-pulse",
                schedule_to_close_timeout=self._lease,
                start_to_close_timeout=self._lease,
                retry_policy=_ONCE,
            )
        except ActivityError:
            return False
        return True


def _reason(message: str, attempts: int, *, again: bool) -> str:
    """The reason of a failure, with why it is not tried again."""
    if again:
        return f"{message}\ntried {attempts} times; the last failure was the same as one before"
    return f"{message}\ntried {attempts} times" if attempts > 1 else message
