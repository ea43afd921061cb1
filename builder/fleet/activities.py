"""The activities of a night: the stages of :mod:`builder.workshop`, with heartbeats and stored failures.

Each runs in a thread of its own. A second thread sends its heartbeats and learns from their answers whether the
stage still belongs to this worker. If it does not, the processes of its build are ended, and its result is refused.
"""

from __future__ import annotations

import contextvars
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from securesystemslib.signer import Signer
from temporalio import activity
from temporalio.exceptions import ApplicationError

from builder.bench.model import BenchVerdict
from builder.compile import FINISHED, Progress
from builder.compile.processes import end_leftovers
from builder.errors import ArmwheelsError, PublishError, StoppedError, as_disk_error
from builder.fleet.logs import Log
from builder.fleet.model import (
    Finished,
    Night,
    Order,
    Plan,
    Planned,
    Promoted,
    Publication,
    Published,
    Snapshot,
    Task,
    Try,
    Working,
)
from builder.fleet.promotion import settled
from builder.fleet.report import compose
from builder.index.client import Index, UnreachableError
from builder.index.licences import refuse_licensed
from builder.index.publish import hand_in, previous_wheels, published_builds
from builder.model.build import Build
from builder.nightly import difference, move_message, moved_to, verdict_about
from builder.plan import make_plan
from builder.workshop import TestedWheel, Workshop

_LOOKED_AT = 50  # reports in which the last one of the same matrix is looked for
BEAT = 2.0
"""Seconds between two heartbeats; the library sends fewer where the lease is long."""


class Shop(Protocol):
    """What a worker builds with."""

    @property
    def workshop(self) -> Workshop:
        """The stages, over the state folder of this host."""

    def builds(self, matrix: str) -> tuple[Build, ...]:
        """The builds of a matrix, by this host's configuration."""


class Activities:
    """The activities of one worker, whose queue is ``host``."""

    def __init__(
        self,
        shop: Shop,
        index: Index,
        host: str,
        progress_for: Callable[[Build], Progress],
        signer: Signer | None,
    ) -> None:
        self._shop = shop
        self._index = index
        self._host = host
        self._progress_for = progress_for
        self._signer = signer
        self._stopped = threading.Event()
        self._builds: dict[str, dict[str, Build]] = {}
        self._verdicts: dict[str, BenchVerdict] = {}

    def stop(self) -> None:
        """End every stage at its next report."""
        self._stopped.set()

    @property
    def control(self) -> Sequence[Callable[..., Any]]:
        """What needs the index alone."""
        return [self.plan, self.adopt, self.snapshot, self.move, self.promote, self.report]

    @property
    def at_host(self) -> Sequence[Callable[..., Any]]:
        """What needs the output of an earlier stage."""
        return [self.repair, self.audit, self.upload]

    @property
    def proofs(self) -> Sequence[Callable[..., Any]]:
        """What runs a wheel."""
        return [self.verify, self.bench]

    @activity.defn
    def pulse(self) -> None:
        """Say that this host lives."""

    @activity.defn
    def plan(self, order: Order) -> Plan:
        """The builds of a night, and what is left to do for each."""
        with self._beating(Working(build=order.matrix, what="plan", done=0, steps=0)):
            workshop = self._shop.workshop
            builds = self._shop.builds(order.matrix)
            self._builds[order.matrix] = {build.id: build for build in builds}
            refuse_licensed({build.id: build.licensed for build in builds})
            published = published_builds(self._index, builds)
            state = self._index.channel(order.channel)
            steps = []
            for step in make_plan(builds, workshop.known(builds, published)):
                build, found = step.build, published.get(step.build.wheel_digest)
                held = found is not None and workshop.held(build, found.sha256) is not None
                differs = found is not None and not held and workshop.wheel_folder(build).is_dir()
                steps.append(
                    Planned(
                        build=build.id,
                        wheel_digest=build.wheel_digest,
                        required=build.required,
                        state=step.state.value,
                        why=step.why,
                        filename=found.filename if found else None,
                        sha256=found.sha256 if found else None,
                        held_on=self._host if held else None,
                        detail=difference(found.sha256) if differs and found else "",
                    )
                )
            today = datetime.now(UTC)
            return Plan(
                night=f"{today:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}",
                steps=tuple(steps),
                session=secrets.token_urlsafe(24),
                snapshot=state.snapshot,
            )

    @activity.defn
    def compile(self, task: Task) -> Finished:
        """Fetch the source and compile it."""
        with self._at_work(task) as (build, progress, took):
            workshop = self._shop.workshop
            was_there = bool(workshop.known([build]).compiled)
            with workshop.alone(build):
                workshop.compile(build, progress)
            cost = None if was_there else workshop.cost(build)
            return Finished(
                host=self._host,
                seconds=took(),
                cpu_seconds=cost.cpu_seconds if cost else 0.0,
                shared=cost.shared if cost else 0,
                compiled=cost.compiled if cost else 0,
            )

    @activity.defn
    def repair(self, task: Task) -> Finished:
        """Make the wheel portable."""
        with self._at_work(task) as (build, progress, took):
            self._wheel(build, task, progress)
            return Finished(host=self._host, seconds=took())

    @activity.defn
    def audit(self, task: Task) -> Finished:
        """Judge the wheel by reading it."""
        with self._at_work(task) as (build, progress, took):
            wheel = self._wheel(build, task, progress)
            report = self._shop.workshop.audit(build, wheel, progress)
            return Finished(
                host=self._host,
                seconds=took(),
                faults=tuple(
                    f"audit, {one.check}: {one.detail}" for one in report.verdicts if one.outcome == "fail"
                ),
                filename=wheel.name,
                sha256=report.sha256,
                size=wheel.stat().st_size,
            )

    @activity.defn
    def verify(self, task: Task) -> Finished:
        """Run the wheel under emulation."""
        with self._at_work(task) as (build, progress, took):
            report = self._shop.workshop.verify(build, self._wheel(build, task, progress), progress)
            progress(FINISHED, 0, 0)
            return Finished(
                host=self._host,
                seconds=took(),
                faults=tuple(
                    f"emulation, {one.name}: {one.detail}" for one in report.checks if one.outcome == "fail"
                ),
                note=report.lesser.outcome,
            )

    @activity.defn
    def bench(self, task: Task) -> Finished:
        """Count the wheel's instructions beside those of others."""
        with self._at_work(task) as (build, progress, took):
            verdict = self._judged(build, task, progress)
            self._verdicts[task.wheel_digest] = verdict
            progress(FINISHED, 0, 0)
            return Finished(
                host=self._host,
                seconds=took(),
                faults=tuple(f"bench, {fault}" for fault in verdict.faults),
                note=verdict.sentence,
                speed=verdict.against_published,
            )

    @activity.defn
    def upload(self, task: Task) -> Finished:
        """Upload the wheel with its evidence."""
        with self._at_work(task) as (build, progress, took):
            workshop = self._shop.workshop
            wheel = self._wheel(build, task, progress)
            audit = workshop.audit(build, wheel, progress)
            tested = TestedWheel(
                build=build,
                path=wheel,
                sha256=audit.sha256,
                audit=audit,
                verify=workshop.verify(build, wheel, progress),
                # After a restart of this worker the verdict is made again, from the counts that are kept.
                bench=self._verdicts.pop(task.wheel_digest, None) or self._judged(build, task, progress),
            )
            progress("upload", 0, 0)
            hand_in(self._index, wheel.name, tested, task.session, self._files(task.snapshot), self._signer)
            progress(FINISHED, 0, 0)
            return Finished(host=self._host, seconds=took(), filename=wheel.name, sha256=audit.sha256)

    @activity.defn
    def adopt(self, given: tuple[Task, str]) -> None:
        """Take a wheel that the index has into the session, unless the channel shows it."""
        task, filename = given
        with self._beating(Working(build=task.build, what="adopt", done=0, steps=0)):
            hand_in(self._index, filename, None, task.session, self._files(task.snapshot), None)

    @activity.defn
    def snapshot(self, asked: Publication) -> Snapshot:
        """Make one snapshot of what was uploaded; none if there is nothing new."""
        with self._beating(Working(build=asked.matrix, what="snapshot", done=0, steps=0)):
            state = self._index.channel(asked.channel)
            there = self._files(state.snapshot)
            news = any(name not in there for name in asked.files)
            made = self._index.make_snapshot(asked.session, state) if news else None
            return Snapshot(
                id=made.id if made else None,
                serial=state.serial,
                before=state.snapshot,
            )

    @activity.defn
    def move(self, given: tuple[Publication, Snapshot]) -> Published:
        """Point the channel at the snapshot, unless a required wheel is missing."""
        asked, made = given
        with self._beating(Working(build=asked.matrix, what="move", done=0, steps=0)):
            verdict = verdict_about(made.id, made.before, asked.files, list(asked.missing))
            if made.id is None or verdict:
                return Published(snapshot=made.before, moved=False, detail=verdict)
            message = move_message(asked.matrix)
            self._index.move(asked.channel, made.id, made.serial, message, nonce=asked.nonce)
            return Published(snapshot=made.id, moved=True, detail=moved_to(asked.channel, made.id))

    @activity.defn
    def promote(self, given: Try) -> Promoted:
        """Move a channel to the newest settled snapshot of another one, if its gates are open."""
        asked = given.asked
        with self._beating(Working(build=asked.channel, what="promote", done=0, steps=0)):
            snapshot = settled(self._index.moves(asked.source), datetime.fromisoformat(given.now), asked.days)
            if snapshot is None:
                reason = f"{asked.source} has shown no snapshot for {asked.days:g} days"
                return Promoted(snapshot=None, moved=False, waits=True, detail=reason)
            state = self._index.channel(asked.channel)
            if state.snapshot == snapshot:
                detail = f"{asked.channel} is at {snapshot} already"
                return Promoted(snapshot=snapshot, moved=False, waits=False, detail=detail)
            message = f"scheduled promotion from {asked.source}"
            try:
                self._index.move(asked.channel, snapshot, state.serial, message, nonce=given.nonce)
            except UnreachableError:
                raise
            except PublishError as closed:
                return Promoted(snapshot=snapshot, moved=False, waits=True, detail=str(closed))
            detail = moved_to(asked.channel, snapshot)
            return Promoted(snapshot=snapshot, moved=True, waits=False, detail=detail)

    @activity.defn
    def report(self, night: Night) -> None:
        """Keep the report of the night in the index. The wheels stay published if the index does not take it."""
        with self._beating(Working(build=night.matrix, what="report", done=0, steps=0)):
            took = datetime.now(UTC) - datetime.fromisoformat(night.began)
            with suppress(PublishError):
                before = self._before(night)
                self._index.put_report(
                    night.night, compose(night, took.total_seconds(), before).model_dump(mode="json")
                )

    def _before(self, night: Night) -> dict[str, Any] | None:
        """The last report of the same matrix and channel, among the newest ones."""
        for other in self._index.nights()[:_LOOKED_AT]:
            found = self._index.report(other) if other < night.night else None
            if found and (found.get("matrix"), found.get("channel")) == (night.matrix, night.channel):
                return found
        return None

    def _files(self, snapshot: str | None) -> dict[str, str]:
        return self._index.snapshot_files(snapshot) if snapshot else {}

    def _build(self, task: Task) -> Build:
        """The build of a task.

        Raises:
            ApplicationError: this host would build something else, or does not know it.
        """
        known = self._builds.get(task.matrix, {})
        if task.build not in known:
            known = {build.id: build for build in self._shop.builds(task.matrix)}
            self._builds[task.matrix] = known
        build = known.get(task.build)
        if build is None or build.wheel_digest != task.wheel_digest:
            what = (
                f"matrix {task.matrix} has no build {task.build}" if build is None else "its digest differs"
            )
            raise ApplicationError(
                f"the configuration of the worker {self._host} is not that of the plan: {what}",
                type="ConfigurationError",
                non_retryable=True,
            )
        return build

    def _wheel(self, build: Build, task: Task, progress: Progress) -> Path:
        """The wheel of a build: the published one that is held here, else the one built here."""
        workshop = self._shop.workshop
        if task.sha256 is not None and (held := workshop.held(build, task.sha256)) is not None:
            return held
        with workshop.alone(build):
            return workshop.repair(build, workshop.compile(build, progress), progress)

    def _judged(self, build: Build, task: Task, progress: Progress) -> BenchVerdict:
        workshop = self._shop.workshop
        previous = previous_wheels(self._index, task.snapshot, workshop.toolbox.home / "downloads")(build)
        return workshop.bench(build, self._wheel(build, task, progress), progress, previous)

    @contextmanager
    def _at_work(self, task: Task) -> Iterator[tuple[Build, Progress, Callable[[], float]]]:
        """A stage of a build: the build, its progress callback, and a function that gives the seconds so far."""
        began = time.monotonic()
        build = self._build(task)
        own = self._progress_for(build)
        start = Working(build=build.id, what="", done=0, steps=0)
        work = self._shop.workshop.work_folder(build)
        stage = activity.info().activity_type
        log = Log(self._index, build.id, task.night, stage, task.attempt, work / "build.log")
        with log, self._beating(start, work) as report:

            def progress(what: str, done: int, steps: int) -> None:
                report(what, done, steps)
                log.say(what)
                own(what, done, steps)

            try:
                log.say(f"{stage} on {self._host}, attempt {task.attempt}")
                yield build, progress, lambda: round(time.monotonic() - began, 2)
                log.say(f"{stage} ended")
            except BaseException as error:
                log.say(f"{stage} failed: {error}")
                own(FINISHED, 0, 0)
                raise

    @contextmanager
    def _beating(self, working: Working, work: Path | None = None) -> Iterator[Progress]:
        """Send heartbeats while the block runs; an error of the block becomes one that Temporal stores."""
        latest, ended = [working], threading.Event()

        def beat() -> None:
            activity.heartbeat(latest[0])
            while not ended.wait(BEAT):
                activity.heartbeat(latest[0])
                if activity.is_cancelled() and work is not None:
                    end_leftovers(work)

        def report(what: str, done: int, steps: int) -> None:
            if self._stopped.is_set() or activity.is_cancelled():
                raise StoppedError("the stage no longer belongs to this worker")
            latest[0] = Working(build=working.build, what=what, done=done, steps=steps)

        beating = threading.Thread(target=contextvars.copy_context().run, args=(beat,), daemon=True)
        beating.start()
        try:
            yield report
        except ApplicationError:
            raise
        except Exception as error:
            raise self._failure(error, working.build) from error
        finally:
            ended.set()
            beating.join()

    def _failure(self, error: Exception, build: str) -> ApplicationError:
        """The error as the workflow judges it, by class and message. A fault of ours leaves its traceback."""
        known: ArmwheelsError | None = as_disk_error(error) if isinstance(error, OSError) else None
        if known is None and isinstance(error, ArmwheelsError):
            known = error
        if known is not None:
            return ApplicationError(str(known), type=type(known).__name__, non_retryable=True)
        log = self._shop.workshop.toolbox.home / "logs" / f"{build}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        message = f"{type(error).__name__}: {error}\ntraceback: {log}"
        return ApplicationError(message, type="Fault", non_retryable=True)
