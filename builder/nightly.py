"""A nightly run: build the new wheels of a matrix, publish them as one snapshot, and move the channel to it.

A failed build does not stop the others. A missing required wheel keeps the channel where it is.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from builder.compile import Progress
from builder.compile.processes import end_children
from builder.errors import ArmwheelsError, StoppedError, as_disk_error
from builder.index.client import Index, Published
from builder.index.licences import refuse_licensed
from builder.index.publish import hand_in, previous_wheels, published_builds, upload_session
from builder.model.build import Build
from builder.plan import State, Step, make_plan
from builder.workshop import AuditedWheel, TestedWheel, Workshop

BUILDS_AT_ONCE = 3
"""Number of concurrent builds: one compiles on all cores while others configure, pack or wait for their tests."""
PROOFS_AT_ONCE = 2
"""Number of wheels that are run and benched at the same time. Emulation uses one core for most of its time."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a line about a wheel says: size in bytes, result on a lesser CPU, and a sentence about its bench."""

    size: int
    lesser: str
    bench: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The result of one build: its file, or the reason why it has none.

    ``wheel`` is there if this process proved it, ``told`` if a worker of the fleet did.
    """

    build: Build
    outcome: str
    filename: str | None = None
    sha256: str | None = None
    detail: str = ""
    wheel: TestedWheel | None = None
    told: Proof | None = None

    @property
    def missing(self) -> bool:
        return self.filename is None

    @property
    def proof(self) -> Proof | None:
        """What is known about the wheel, if it was proved in this run."""
        if self.told is not None or self.wheel is None:
            return self.told
        bench = self.wheel.bench.sentence if self.wheel.bench is not None else ""
        return Proof(
            size=self.wheel.path.stat().st_size, lesser=self.wheel.verify.lesser.outcome, bench=bench
        )


@dataclass(frozen=True, kw_only=True)
class NightlyReport:
    """The result of a run. ``snapshot`` is the channel's after the run, ``moved`` whether the run moved it."""

    matrix: str
    channel: str
    cells: tuple[Cell, ...]
    snapshot: str | None
    moved: bool
    detail: str
    seconds: float

    @property
    def missing(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.missing)


def run_nightly(
    matrix: str,
    builds: tuple[Build, ...],
    workshop: Workshop,
    index: Index,
    *,
    channel: str,
    progress_for: Callable[[Build], Progress],
    on_plan: Callable[[tuple[Step, ...]], None],
    on_cell: Callable[[Cell], None],
    signer: Signer | None = None,
) -> NightlyReport:
    """Build the wheels that the index does not have, then publish them. ``signer`` signs statements about them.

    Raises:
        ConfigError: a build holds a library that is licensed to its user alone.
        PublishError: the index does not answer or refuses; what was built is kept for the next run.
    """
    refuse_licensed({build.id: build.licensed for build in builds})
    start = time.monotonic()
    published = published_builds(index, builds)
    state = index.channel(channel)
    previous_of = previous_wheels(index, state.snapshot, workshop.toolbox.home / "downloads")
    plan = make_plan(builds, workshop.known(builds, published))
    on_plan(plan)
    cells: list[Cell] = []
    with ThreadPoolExecutor(BUILDS_AT_ONCE) as builders, ThreadPoolExecutor(PROOFS_AT_ONCE) as provers:
        pending: deque[Future[Cell]] = deque()
        with _ended_together(pending, builders, provers) as unless_stopped:
            for step in plan:
                found = published.get(step.build.wheel_digest)
                progress = unless_stopped(progress_for(step.build))
                pending.append(builders.submit(_cell, step, workshop, found, progress, provers, previous_of))
            while pending:
                cells.append(pending[0].result())
                pending.popleft()
                on_cell(cells[-1])
    snapshot, moved, detail = _publish(matrix, tuple(cells), workshop, index, channel, signer)
    return NightlyReport(
        matrix=matrix,
        channel=channel,
        cells=tuple(cells),
        snapshot=snapshot,
        moved=moved,
        detail=detail,
        seconds=time.monotonic() - start,
    )


@contextmanager
def _ended_together(
    pending: deque[Future[Cell]], *pools: ThreadPoolExecutor
) -> Iterator[Callable[[Progress], Progress]]:
    """On any exception, Ctrl-C above all, stop the running builds instead of waiting for them for hours.

    The block gets a function that wraps the progress callback of a build. The wrapped callback raises the error
    that stops the build.
    """
    stopped = threading.Event()

    def unless_stopped(progress: Progress) -> Progress:
        def report(what: str, done: int, steps: int) -> None:
            if stopped.is_set():
                raise StoppedError("stopped")
            progress(what, done, steps)

        return report

    try:
        yield unless_stopped
    except BaseException:
        stopped.set()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        while wait(pending, timeout=0.2).not_done:
            end_children()
        raise


def _cell(
    step: Step,
    workshop: Workshop,
    published: Published | None,
    progress: Progress,
    provers: ThreadPoolExecutor,
    previous_of: Callable[[Build], Path | None],
) -> Cell:
    """Build the wheel unless the index has it, and prove it; a failure becomes the reason of the cell."""
    build = step.build
    try:
        if published is None:
            built = workshop.build(build, progress)
        else:
            held = workshop.held(build, published.sha256)
            if held is None:
                return _as_published(step, workshop, published)
            # Kept reports make this free. A newer audit or newer tests check the same bytes again.
            built = AuditedWheel(build=build, path=held, audit=workshop.audit(build, held, progress))
        wheel = provers.submit(workshop.prove, built, progress, previous_of(build)).result()
    except Exception as error:
        return _failed(build, workshop, error)
    if wheel.faults:
        return Cell(build=build, outcome="refused", detail="\n".join(wheel.faults), wheel=wheel)
    return Cell(
        build=build,
        outcome=_OUTCOMES[step.state],
        filename=wheel.path.name,
        sha256=wheel.sha256,
        wheel=wheel,
    )


def _as_published(step: Step, workshop: Workshop, published: Published) -> Cell:
    """The published wheel. It wins over a different wheel built here; the cell reports the difference."""
    differs = workshop.wheel_folder(step.build).is_dir()
    return Cell(
        build=step.build,
        outcome=_OUTCOMES[step.state],
        filename=published.filename,
        sha256=published.sha256,
        detail=difference(published.sha256) if differs else "",
    )


def difference(sha256: str) -> str:
    """The sentence about a wheel that differs from the published one with this sha256."""
    return f"the wheel built here differs from the published one ({sha256[:12]}), which stays"


_OUTCOMES = {
    State.NEW: "built",
    State.COMPILED: "finished",
    State.BUILT: "finished",
    State.PUBLISHED: "published before",
}


def _failed(build: Build, workshop: Workshop, error: Exception) -> Cell:
    """The cell of a failed build; the traceback of an unexpected error goes to a log file."""
    full = as_disk_error(error) if isinstance(error, OSError) else None
    if full is not None or isinstance(error, ArmwheelsError):
        return Cell(build=build, outcome="failed", detail=str(full or error))
    log = workshop.toolbox.home / "logs" / f"{build.id}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return Cell(build=build, outcome="failed", detail=f"{type(error).__name__}: {error}\ntraceback: {log}")


def _publish(
    matrix: str,
    cells: tuple[Cell, ...],
    workshop: Workshop,
    index: Index,
    channel: str,
    signer: Signer | None,
) -> tuple[str | None, bool, str]:
    """Upload the wheels, make a snapshot and move the channel.

    Returns the channel's snapshot, whether it moved, and a sentence about it.
    """
    state = index.channel(channel)
    there = index.snapshot_files(state.snapshot) if state.snapshot else {}
    files = {cell.filename: cell for cell in cells if cell.filename is not None}
    news = sorted(name for name in files if name not in there)
    missing = [cell.build.id for cell in cells if cell.missing and cell.build.required]
    session = upload_session(workshop.toolbox.home, matrix, tuple(news)).name if news else ""
    for name, cell in sorted(files.items()):
        hand_in(index, name, cell.wheel, session, there, signer)
    made = index.make_snapshot(session, state).id if news else None
    verdict = verdict_about(made, state.snapshot, files, missing)
    if made is None or verdict:
        return state.snapshot, False, verdict
    index.move(channel, made, state.serial, move_message(matrix))
    return made, True, moved_to(channel, made)


def verdict_about(made: str | None, head: str | None, files: Collection[str], missing: list[str]) -> str:
    """Why a channel at ``head`` is not moved to the snapshot ``made``, in a sentence; empty if it is. Pure.

    ``missing`` are the required builds without a wheel. Without news no snapshot is made.
    """
    held = f"the channel stays: required and missing are {', '.join(missing)}" if missing else ""
    if not files:
        return "nothing was built"
    if made is None:
        return held or "nothing new: no snapshot was made"
    if held:
        return f"snapshot {made} was made; {held}"
    return "nothing new: no snapshot was made" if made == head else ""


def move_message(matrix: str) -> str:
    """The message of a night's move."""
    return f"armwheels nightly --matrix {matrix}"


def moved_to(channel: str, snapshot: str) -> str:
    """The sentence about a move."""
    return f"{channel} moved to {snapshot}"
