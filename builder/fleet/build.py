"""The workflow of one build: its stages one after the other, with the decision about each retry.

A night has one such workflow for each build. In each, one thing happens at a time, so that its history means the
same however it is divided: when a server died, events that came one by one can come at once when they are replayed.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

from builder.fleet.model import COMPILE, CONTROL, BuildOrder, Finished, Planned, Result, Stage, Task

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


class LostError(Exception):
    """The host on which the earlier outputs of a build lie is gone."""


class Stages:
    """What both workflows share: run an activity until it succeeds, fails for good, or its host is gone."""

    def __init__(self) -> None:
        self._takeovers = 0
        self._lease = timedelta(minutes=1)

    @workflow.signal
    def take_over(self) -> None:
        """All workers are gone, which only the owner of an engine of its own can know: begin the stage anew."""
        self._takeovers += 1

    async def _stage(self, name: str, given: object, queue: str, gives: type[T] | None) -> T:
        """Run an activity until it succeeds, fails twice the same way, or fails too often.

        Raises:
            ApplicationError: it failed for good; the message is the reason.
            LostError: no worker serves the queue of its host any more, or the worker died.
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
                    raise LostError(f"the worker was lost during {name}") from error
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
                schedule_to_start_timeout=None if queue in (CONTROL, COMPILE) else self._lease,
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


@workflow.defn(name="armwheels-build", sandboxed=False)
class BuildWorkflow(Stages):
    """One build of a night. A failure is its result."""

    @workflow.run
    async def run(self, order: BuildOrder) -> Result:
        self._lease = timedelta(seconds=order.lease)
        step = order.step
        try:
            return await self._built(order, step)
        except ApplicationError as error:
            return Result(build=step.build, required=step.required, outcome="failed", detail=error.message)

    async def _built(self, order: BuildOrder, step: Planned) -> Result:
        if step.filename is not None and step.held_on is None:
            await self._stage("adopt", (_task(order, 1), step.filename), CONTROL, None)
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
                return await self._stages(step, _task(order, attempt))
            except LostError as error:
                lost = str(error)
        raise ApplicationError(f"{lost}; that was the worker number {LOSSES} that this build lost")

    async def _stages(self, step: Planned, task: Task) -> Result:
        """The stages of a build. All after the compile run on its host, which has the wheel.

        Raises:
            LostError: the host is gone.
        """
        stages: list[Stage] = []
        found: dict[str, Finished] = {}

        async def run(name: str, queue: str) -> Finished:
            done = await self._stage(name, task, queue, Finished)
            stages.append(Stage(name=name, host=done.host, seconds=done.seconds))
            found[name] = done
            return done

        if step.held_on is None:
            host = (await run("compile", COMPILE)).host
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


def _task(order: BuildOrder, attempt: int) -> Task:
    return Task(
        night=order.night,
        matrix=order.matrix,
        build=order.step.build,
        wheel_digest=order.step.wheel_digest,
        session=order.session,
        snapshot=order.snapshot,
        attempt=attempt,
        sha256=order.step.sha256,
    )


def _reason(message: str, attempts: int, *, again: bool) -> str:
    """The reason of a failure, with why it is not tried again."""
    if again:
        return f"{message}\ntried {attempts} times; the last failure was the same as one before"
    return f"{message}\ntried {attempts} times" if attempts > 1 else message
