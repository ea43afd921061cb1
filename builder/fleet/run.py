"""Runs a night on an engine: starts its workflow or goes on with it, follows it, and reports it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from securesystemslib.signer import Signer
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from builder import errors
from builder.audit import AUDIT_VERSION
from builder.compile import FINISHED, Progress
from builder.compile.processes import end_children
from builder.digests import digest
from builder.emulation.verify import VERIFY_VERSION
from builder.errors import ArmwheelsError, EngineError
from builder.fleet.activities import Activities, Shop
from builder.fleet.connection import connect
from builder.fleet.engine import LocalEngine
from builder.fleet.model import CONTROL, KIND, KINDS, Night, Order, Plan, Result, Working
from builder.fleet.worker import host_queue, serving
from builder.fleet.workflow import NightWorkflow
from builder.index.client import Index
from builder.model.build import Build
from builder.nightly import Cell, NightlyReport, Proof
from builder.plan import State, Step

LOCAL_LEASE = 30.0
"""Seconds without a heartbeat after which a worker counts as dead. Its server may restart meanwhile."""
AWAY_SECONDS = 300.0
"""Seconds without an answer of the engine after which a run gives up. The night itself goes on."""
_LOOK = 0.25  # seconds between two looks at a night on this machine
_LOOK_FAR = 2.0  # and at one elsewhere
_SHOWN = 20  # builds of a night elsewhere whose progress is shown
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a terminal shows of a night while it runs."""

    progress_for: Callable[[Build], Progress]
    on_plan: Callable[[tuple[Step, ...]], None]
    on_cell: Callable[[Cell], None]


def run_here(
    matrix: str,
    builds: tuple[Build, ...],
    shop: Shop,
    index: Index,
    engine: LocalEngine,
    shown: Shown,
    *,
    channel: str,
    signer: Signer | None,
) -> NightlyReport:
    """Run a night on an engine of its own, with a worker in this process; ``signer`` signs statements.

    Raises:
        ArmwheelsError: of the class that the night failed with.
        StoppedError: Ctrl-C.
    """
    host = host_queue(shop.workshop.toolbox.home)
    activities = Activities(shop, index, host, shown.progress_for, signer)
    order = Order(matrix=matrix, channel=channel, lease=LOCAL_LEASE)

    async def night() -> NightlyReport:
        client = await connect(engine.address)
        handle = await _begin(client, order, builds, alone=True)
        async with serving(client, activities, host):
            return await _follow(client, handle, order, builds, shown, look=_LOOK, far=False)

    return _unless_stopped(night, activities.stop)


def run_elsewhere(
    matrix: str, builds: tuple[Build, ...], address: str, shown: Shown, *, channel: str, lease: float
) -> NightlyReport:
    """Run a night on a cluster, by its workers. Ctrl-C stops looking at it, and not the night.

    Raises:
        ArmwheelsError: of the class that the night failed with.
    """
    order = Order(matrix=matrix, channel=channel, lease=lease)

    async def night() -> NightlyReport:
        client = await connect(address)
        handle = await _begin(client, order, builds, alone=False)
        return await _follow(client, handle, order, builds, shown, look=_LOOK_FAR, far=True)

    return _unless_stopped(night, lambda: None)


def serve(
    address: str,
    shop: Shop,
    index: Index,
    identity: str,
    progress_for: Callable[[Build], Progress],
    ready: Callable[[], None],
    signer: Signer | None,
) -> None:
    """Serve a cluster as a worker until Ctrl-C; ``ready`` is called once it does.

    ``signer`` signs statements about the wheels that this worker uploads.

    Raises:
        StoppedError: Ctrl-C or SIGTERM.
    """
    host = host_queue(shop.workshop.toolbox.home)
    activities = Activities(shop, index, host, progress_for, signer)

    async def work() -> None:
        client = await connect(address, identity=identity)
        async with serving(client, activities, host):
            ready()
            await asyncio.Event().wait()

    _unless_stopped(work, activities.stop)


def workers_of(address: str) -> list[str]:
    """The identities of the workers that asked the cluster for work in the last minutes."""

    async def ask() -> list[str]:
        client = await connect(address)
        found: set[str] = set()
        for kind in KINDS:
            queue = await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=client.namespace,
                    task_queue=TaskQueue(name=f"armwheels{kind}"),
                    task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
                )
            )
            found |= {one.identity for one in queue.pollers}
        return sorted(found)

    return asyncio.run(ask())


def workflow_id(order: Order) -> str:
    """The id of the workflow of a night: a matrix has one at a time for a channel."""
    return f"night-{order.matrix}-{order.channel}{KIND}"


def asked_for(builds: tuple[Build, ...]) -> str:
    """What a night does, in short: if it changes, an interrupted night is not gone on with."""
    return digest(
        {
            "builds": [build.model_dump(mode="json") for build in builds],
            "stages": [AUDIT_VERSION, VERIFY_VERSION],
        }
    )


async def _begin(
    client: Client, order: Order, builds: tuple[Build, ...], *, alone: bool
) -> WorkflowHandle[NightWorkflow, Night]:
    """Start the night, or take up the one that a killed run left."""
    memo = {"asked": asked_for(builds)}
    handle = client.get_workflow_handle_for(NightWorkflow.run, workflow_id(order))
    if alone and (running := await _running(handle)) is not None:
        if running == memo["asked"]:
            await _take_over(client, handle)
            return handle
        await handle.terminate("the configuration has changed since")
    return await client.start_workflow(
        NightWorkflow.run,
        order,
        id=workflow_id(order),
        task_queue=CONTROL,
        memo=memo,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )


async def _take_over(client: Client, handle: WorkflowHandle[NightWorkflow, Night]) -> None:
    """Tell a night and its builds that their workers are gone."""
    for name in [handle.id, *await _builds_of(handle)]:
        with suppress(RPCError):  # a build that has ended meanwhile
            await client.get_workflow_handle(name).signal("take_over")


async def _builds_of(handle: WorkflowHandle[NightWorkflow, Night]) -> list[str]:
    """The ids of the workflows of the builds that have not ended."""
    found = await _patiently(handle.describe)
    return [child.workflow_id for child in found.raw_description.pending_children]


async def _running(handle: WorkflowHandle[NightWorkflow, Night]) -> str | None:
    """What the running workflow was asked for; None if none is running."""
    try:
        found = await handle.describe()
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise
    if found.status is not WorkflowExecutionStatus.RUNNING:
        return None
    return str(await found.memo_value("asked", ""))


async def _follow(
    client: Client,
    handle: WorkflowHandle[NightWorkflow, Night],
    order: Order,
    builds: tuple[Build, ...],
    shown: Shown,
    *,
    look: float,
    far: bool,
) -> NightlyReport:
    """Show a night while it runs, and return its report."""
    began = time.monotonic()
    by_id = {build.id: build for build in builds}
    result = asyncio.ensure_future(_patiently(handle.result))
    plan: Plan | None = None
    told = 0
    looked = {build.id: shown.progress_for(build) for build in builds} if far else {}
    while True:
        await asyncio.wait((result,), timeout=look)
        ended = result.done()
        if plan is None and (plan := await _patiently(lambda: handle.query(NightWorkflow.plan))) is not None:
            shown.on_plan(steps_of(plan, by_id))
        if plan is not None:
            results = await _patiently(lambda: handle.query(NightWorkflow.results))
            for one in results[told:]:
                shown.on_cell(cell_of(one, by_id))
            told = len(results)
        if ended:
            break
        if far:
            await _show_work(client, handle, looked)
    try:
        night = result.result()
    except WorkflowFailureError as error:
        raise as_error(error) from error
    return NightlyReport(
        matrix=order.matrix,
        channel=order.channel,
        cells=tuple(cell_of(one, by_id) for one in night.results),
        snapshot=night.published.snapshot,
        moved=night.published.moved,
        detail=night.published.detail,
        seconds=time.monotonic() - began,
    )


async def _show_work(
    client: Client, handle: WorkflowHandle[NightWorkflow, Night], progress: dict[str, Progress]
) -> None:
    """Show what the workers say that they do, of the first builds that have not ended."""
    at_work: dict[str, Working] = {}
    for name in (await _builds_of(handle))[:_SHOWN]:
        with suppress(RPCError):  # it has ended meanwhile, or the server is away
            found = await client.get_workflow_handle(name).describe()
            for pending in found.raw_description.pending_activities:
                payloads = pending.heartbeat_details.payloads
                if pending.HasField("heartbeat_details"):
                    [working] = await found.data_converter.decode(payloads, [Working])
                    at_work[working.build] = working
    for build, report in progress.items():
        working = at_work.get(build)
        if working is not None and working.what:
            report(working.what, working.done, working.steps)
        elif working is None:
            report(FINISHED, 0, 0)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the server, and again while it is being restarted.

    Raises:
        EngineError: it has not answered for :data:`AWAY_SECONDS`.
    """
    failing: float | None = None
    while True:
        asked = time.monotonic()
        try:
            return await ask()
        except (RPCError, WorkflowQueryFailedError) as error:
            # A query fails, too, if a worker answers from a state that the server lost as it died.
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                raise EngineError(f"the night is gone from the engine: {error}") from error
            # A result is waited for as long as the server is there.
            failing = asked if failing is None or time.monotonic() - asked > AWAY_SECONDS / 2 else failing
            if time.monotonic() - failing > AWAY_SECONDS:
                raise EngineError(f"the engine does not answer: {error}") from error
            await asyncio.sleep(1)


def steps_of(plan: Plan, builds: dict[str, Build]) -> tuple[Step, ...]:
    """The steps of a plan, as the terminal shows them."""
    return tuple(
        Step(build=builds[one.build], state=State(one.state), why=one.why)
        for one in plan.steps
        if one.build in builds
    )


def cell_of(result: Result, builds: dict[str, Build]) -> Cell:
    """The result of a build, as the terminal shows it."""
    told = Proof(size=result.size, lesser=result.lesser, bench=result.bench) if result.size else None
    return Cell(
        build=builds[result.build],
        outcome=result.outcome,
        filename=result.filename,
        sha256=result.sha256,
        detail=result.detail,
        told=told,
    )


def as_error(failure: WorkflowFailureError) -> ArmwheelsError:
    """The error of a night that failed, of the class that its stage raised."""
    cause = failure.cause
    if isinstance(cause, ApplicationError):
        kind = getattr(errors, cause.type or "", None)
        if cause.type == "UnreachableError":
            kind = errors.PublishError
        if isinstance(kind, type) and issubclass(kind, ArmwheelsError):
            return kind(cause.message)
        return EngineError(cause.message)
    return EngineError(f"the night ended: {cause}")


def _unless_stopped(night: Callable[[], Awaitable[T]], stop: Callable[[], None]) -> T:
    """Run a night in a thread. On Ctrl-C, end what it started, and then the night.

    The main thread only waits, since a signal interrupts it alone.
    """
    ended: Future[T] = Future()
    loop = asyncio.new_event_loop()
    task: list[asyncio.Task[T]] = []

    def run() -> None:
        async def whole() -> T:
            if (own := asyncio.current_task()) is not None:
                task.append(own)
            return await night()

        try:
            ended.set_result(loop.run_until_complete(whole()))
        except BaseException as error:
            ended.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return ended.result()
    except BaseException:
        stop()
        if thread.is_alive():
            if task:
                loop.call_soon_threadsafe(task[0].cancel)
            while thread.is_alive():
                end_children()
                thread.join(0.2)
        raise
