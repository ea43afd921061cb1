"""The workflow of a night over activities that only say what they would do, in an engine that skips the time."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from builder.fleet.build import FAILURES, LOSSES, BuildWorkflow
from builder.fleet.model import (
    COMPILE,
    CONTROL,
    Finished,
    Night,
    Order,
    Plan,
    Planned,
    Publication,
    Published,
    Snapshot,
    Task,
)
from builder.fleet.workflow import NightWorkflow

SERVER = str(Path(sys.executable).parent / "temporal-test-server")
ORDER = Order(matrix="demo", channel="nightly", lease=30)
SHORT = ORDER.model_copy(update={"lease": 0.5})
"""An order whose hosts are soon gone: the engine skips no time while an activity waits for a worker."""
NIGHT = "20261128-030000-0a1b2c3d"


def step(build: str, **more: Any) -> Planned:
    return Planned(
        build=build, wheel_digest=build, required=True, state="new", why="never built here", **more
    )


class Stages:
    """Stages that end at once, fail as they are told, and count what was asked of them."""

    def __init__(self, *steps: Planned) -> None:
        self.steps = steps
        self.calls: Counter[tuple[str, str]] = Counter()
        self.hosts: list[str] = []
        self.failures: dict[tuple[str, str], Callable[[int], Exception | None]] = {}
        self.faults: dict[str, tuple[str, ...]] = {}
        self.asked: list[Publication] = []
        self.reports: list[Night] = []
        self.host = "host"
        """The queue that compiles say they ran on; nobody serves the queue ``gone``."""

    def _do(self, name: str, task: Task) -> Finished:
        self.calls[name, task.build] += 1
        failure = self.failures.get((name, task.build), lambda _: None)(self.calls[name, task.build])
        if failure is not None:
            raise failure
        return Finished(host=self.host, seconds=1.0, filename=f"{task.build}.whl", sha256="0" * 64, size=9)

    @activity.defn
    async def plan(self, order: Order) -> Plan:
        return Plan(night=NIGHT, steps=self.steps, session="s" * 22, snapshot=None)

    @activity.defn
    async def compile(self, task: Task) -> Finished:
        done = self._do("compile", task)
        if task.attempt > 1:
            return done.model_copy(update={"host": "host"})
        return done

    @activity.defn
    async def repair(self, task: Task) -> Finished:
        return self._do("repair", task)

    @activity.defn
    async def audit(self, task: Task) -> Finished:
        return self._do("audit", task).model_copy(update={"faults": self.faults.get(task.build, ())})

    @activity.defn
    async def verify(self, task: Task) -> Finished:
        return self._do("verify", task)

    @activity.defn
    async def bench(self, task: Task) -> Finished:
        return self._do("bench", task)

    @activity.defn
    async def upload(self, task: Task) -> Finished:
        return self._do("upload", task)

    @activity.defn
    async def adopt(self, given: tuple[Task, str]) -> None:
        self.calls["adopt", given[0].build] += 1

    @activity.defn
    async def snapshot(self, asked: Publication) -> Snapshot:
        self.asked.append(asked)
        return Snapshot(id="20261128-1", serial=0, before=None)

    @activity.defn
    async def move(self, given: tuple[Publication, Snapshot]) -> Published:
        self.calls["move", ""] += 1
        return Published(snapshot=given[1].id, moved=True, detail="nightly moved to 20261128-1")

    @activity.defn
    async def report(self, night: Night) -> None:
        self.reports.append(night)

    @activity.defn
    async def pulse(self) -> None:
        self.calls["pulse", ""] += 1


def run(stages: Stages, order: Order = ORDER) -> Night:
    """Run a night, and run its histories again: the code must do the same."""

    async def night() -> Night:
        async with await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=SERVER, data_converter=pydantic_data_converter
        ) as environment:

            def worker(queue: str, activities: Sequence[Callable[..., Any]]) -> Worker:
                workflows = [NightWorkflow, BuildWorkflow] if queue == CONTROL else []
                return Worker(
                    environment.client, task_queue=queue, activities=activities, workflows=workflows
                )

            control = [stages.plan, stages.adopt, stages.snapshot, stages.move, stages.report]
            async with (
                worker(CONTROL, control),
                worker(COMPILE, [stages.compile]),
                worker("host", [stages.repair, stages.audit, stages.upload]),
                worker("host-proof", [stages.verify, stages.bench]),
                worker("host-pulse", [stages.pulse]),
            ):
                handle = await environment.client.start_workflow(
                    NightWorkflow.run, order, id="night", task_queue=CONTROL
                )
                done = await handle.result()
            replayer = Replayer(
                workflows=[NightWorkflow, BuildWorkflow], data_converter=pydantic_data_converter
            )
            for name in ("night", *(f"night/{one.build}" for one in stages.steps)):
                history = await environment.client.get_workflow_handle(name).fetch_history()
                await replayer.replay_workflow(history)
            return done

    return asyncio.run(night())


def failing(*messages: str) -> Callable[[int], Exception | None]:
    """Fail the first times with these messages."""

    def failure(time: int) -> Exception | None:
        if time > len(messages):
            return None
        return ApplicationError(messages[time - 1], type="CompileError", non_retryable=True)

    return failure


def test_each_build_goes_through_its_stages_and_is_published_once() -> None:
    stages = Stages(step("a"), step("b"), step("c", filename="c.whl", sha256="1" * 64))
    night = run(stages)
    names = ("compile", "repair", "audit", "verify", "bench", "upload")
    assert {key: stages.calls[key] for key in stages.calls if key[1] in ("a", "b")} == {
        (name, build): 1 for name in names for build in ("a", "b")
    }
    assert stages.calls["adopt", "c"] == 1
    [asked] = stages.asked
    assert set(asked.files) == {"a.whl", "b.whl", "c.whl"}
    assert (asked.missing, asked.nonce) == ((), NIGHT)
    assert [result.build for result in night.results] == ["a", "b", "c"]
    assert night.published.moved
    assert stages.reports == [night]


def test_the_same_failure_twice_is_not_tried_a_third_time() -> None:
    stages = Stages(step("a"), step("b"))
    stages.failures["compile", "a"] = failing(*["gone.h: no such file"] * 9)
    night = run(stages)
    assert stages.calls["compile", "a"] == 2
    [failed, built] = night.results
    assert (failed.outcome, built.outcome) == ("failed", "built")
    assert failed.detail == (
        "gone.h: no such file\ntried 2 times; the last failure was the same as one before"
    )
    assert stages.asked[0].missing == ("a",)


def test_a_failure_that_passes_is_tried_again() -> None:
    stages = Stages(step("a"))
    stages.failures["compile", "a"] = failing("the mirror answered 503")
    night = run(stages)
    assert [result.outcome for result in night.results] == ["built"]


def test_different_failures_have_a_limit() -> None:
    stages = Stages(step("a"))
    stages.failures["verify", "a"] = failing(*(f"failure {number}" for number in range(9)))
    night = run(stages)
    assert stages.calls["verify", "a"] == FAILURES
    assert night.results[0].detail == f"failure {FAILURES - 1}\ntried {FAILURES} times"


def test_an_index_that_is_away_is_waited_for() -> None:
    stages = Stages(step("a"))

    def away(time: int) -> Exception | None:
        unreachable = ApplicationError("503", type="UnreachableError", non_retryable=True)
        return unreachable if time <= 8 else None

    stages.failures["upload", "a"] = away
    assert [result.outcome for result in run(stages).results] == ["built"]


def test_a_fault_of_the_configuration_is_certain() -> None:
    stages = Stages(step("a"))

    def fault(time: int) -> Exception:
        return ApplicationError("no such recipe", type="ConfigError", non_retryable=True)

    stages.failures["compile", "a"] = fault
    run(stages)
    assert stages.calls["compile", "a"] == 1


def test_a_build_whose_host_is_gone_is_compiled_on_another_one() -> None:
    stages = Stages(step("a"))
    stages.host = "gone"
    night = run(stages, SHORT)
    assert stages.calls["compile", "a"] == 2
    assert (night.results[0].outcome, night.results[0].attempts) == ("built", 2)


def test_a_build_that_loses_every_worker_is_given_up() -> None:
    class Loses(Stages):
        @activity.defn
        async def compile(self, task: Task) -> Finished:
            self.calls["compile", task.build] += 1
            return Finished(host="gone", seconds=1.0)

    stages = Loses(step("a"))
    night = run(stages, SHORT)
    assert stages.calls["compile", "a"] == LOSSES
    assert f"the worker number {LOSSES} that this build lost" in night.results[0].detail


def test_a_wheel_with_faults_is_run_and_neither_benched_nor_uploaded() -> None:
    stages = Stages(step("a"))
    stages.faults["a"] = ("audit, machine: x86",)
    night = run(stages)
    assert (stages.calls["verify", "a"], stages.calls["bench", "a"], stages.calls["upload", "a"]) == (1, 0, 0)
    assert (night.results[0].outcome, night.results[0].detail) == ("refused", "audit, machine: x86")
    assert stages.asked[0].missing == ("a",)
