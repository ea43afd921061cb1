"""The workflow of a night: plan, build each wheel, make one snapshot, move the channel.

Temporal runs this code again from its history whenever a worker takes the workflow over. So it reads no clock, no
environment and no file; all that is done by the activities of :mod:`builder.fleet.activities`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

from builder.fleet.build import BuildWorkflow, LostError, Stages
from builder.fleet.model import (
    CONTROL,
    BuildOrder,
    Night,
    Order,
    Plan,
    Planned,
    Publication,
    Published,
    Result,
    Snapshot,
)


@workflow.defn(name="armwheels-night", sandboxed=False)
class NightWorkflow(Stages):
    """One night over a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self._plan: Plan | None = None
        self._results: list[Result] = []

    @workflow.query
    def plan(self) -> Plan | None:
        """The plan, once it is made."""
        return self._plan

    @workflow.query
    def results(self) -> tuple[Result, ...]:
        """The builds that have ended, in the order in which they did."""
        return tuple(self._results)

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
        with suppress(ApplicationError, LostError):  # the night is published all the same
            await self._stage("report", night, CONTROL, None)
        return night

    async def _cell(self, order: Order, plan: Plan, step: Planned) -> None:
        """Build one wheel in a workflow of its own."""
        given = BuildOrder(
            night=plan.night,
            matrix=order.matrix,
            session=plan.session,
            snapshot=plan.snapshot,
            lease=order.lease,
            step=step,
        )
        name = f"{workflow.info().workflow_id}/{step.build}"
        try:
            result = await workflow.execute_child_workflow(BuildWorkflow.run, given, id=name)
        except ChildWorkflowError as error:
            detail = f"the build ended: {error.cause or error}"
            result = Result(build=step.build, required=step.required, outcome="failed", detail=detail)
        self._results.append(result)

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
