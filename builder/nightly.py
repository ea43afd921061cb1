"""The whole pipeline over a matrix: build what is new, publish it as one snapshot, move the channel once.

A build that fails never blocks the others; a required one that is missing keeps the channel where it is.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from builder.compile import Progress
from builder.compile.processes import end_children
from builder.errors import ArmwheelsError, ConfigError, PublishError, StoppedError, as_disk_error
from builder.model import Build
from builder.plan import State, Step, make_plan
from builder.publish import Index, Published
from builder.settings import Frozen
from builder.stages import Built, Wheel, Workshop

BUILDS_AT_ONCE = 3
"""How many builds are under way together: one compiles on all cores, others configure, pack or wait to be run."""

EVIDENCE = frozenset({"audit", "emulation"})
"""What must lie beside a wheel before it counts as published."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What became of one build: the published or fresh file, or the reason why there is none."""

    build: Build
    outcome: str
    filename: str | None = None
    sha256: str | None = None
    detail: str = ""
    wheel: Wheel | None = None

    @property
    def missing(self) -> bool:
        return self.filename is None


@dataclass(frozen=True, kw_only=True)
class NightlyReport:
    """One run over a matrix. ``snapshot`` is the channel's after the run; ``moved`` tells whether it is new."""

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


class Session(Frozen):
    """An upload session kept over kills: the same wheels go on in the same session."""

    name: str
    files: tuple[str, ...]


def published_builds(index: Index, builds: tuple[Build, ...]) -> dict[str, Published]:
    """What the index has of these builds, by wheel digest, with the evidence that it was audited and run.

    A file without its evidence is not taken as published: a run may have been killed between the two, or somebody
    else may have uploaded it. It is built or found here again, and its evidence follows.
    """
    found = {build.wheel_digest: index.find_build(build.wheel_digest) for build in builds}
    return {
        digest: published
        for digest, published in found.items()
        if published is not None and index.evidence_kinds(published.sha256) >= EVIDENCE
    }


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
) -> NightlyReport:
    """Build what the index does not have, then publish.

    Raises:
        ConfigError: a build holds a library that is licensed to its user alone.
        PublishError: the index does not answer or refuses; what was built is kept for the next run.
    """
    if kept := [build.id for build in builds if build.licensed]:
        raise ConfigError(
            f"{', '.join(kept)} may not be published, for the sake of a library's licence; "
            "`armwheels build` makes it for this machine"
        )
    start = time.monotonic()
    published = published_builds(index, builds)
    plan = make_plan(builds, workshop.known(builds, published))
    on_plan(plan)
    cells: list[Cell] = []
    # A build configures, links and packs on one core: a second one compiles meanwhile, and a third runs.
    with ThreadPoolExecutor(BUILDS_AT_ONCE) as builders, ThreadPoolExecutor(1) as runner:
        pending: deque[Future[Cell]] = deque()
        with _ended_together(pending, builders, runner) as unless_stopped:
            for step in plan:
                found = published.get(step.build.wheel_digest)
                progress = unless_stopped(progress_for(step.build))
                pending.append(builders.submit(_cell, step, workshop, found, progress, runner))
            while pending:
                cells.append(pending[0].result())
                pending.popleft()
                on_cell(cells[-1])
    snapshot, moved, detail = _publish(matrix, tuple(cells), workshop, index, channel)
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
    """Whatever ends the run (Ctrl-C above all) ends the builds under way as well, instead of waiting for hours.

    Their progress goes through the function that is given: it is where a build hears that it is to stop.
    """
    stopped = threading.Event()

    def unless_stopped(progress: Progress) -> Progress:
        def told(what: str, done: int, steps: int) -> None:
            if stopped.is_set():
                raise StoppedError("stopped")
            progress(what, done, steps)

        return told

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
    runner: ThreadPoolExecutor,
) -> Cell:
    """Build unless the index has it, and have the wheel run; a failure becomes the cell's reason."""
    build = step.build
    try:
        if published is None:
            built = workshop.build(build, progress)
        else:
            held = workshop.held(build, published.sha256)
            if held is None:
                return _as_published(step, workshop, published)
            # Kept reports make this free; a newer audit or newer tests speak again about the same bytes.
            built = Built(build=build, path=held, audit=workshop.audit(build, held, progress))
        wheel = runner.submit(workshop.prove, built, progress).result()
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
    """The index's bytes, which win over a wheel built here that differs; the difference is said."""
    differs = workshop.wheel_folder(step.build).is_dir()
    said = f"the wheel built here differs from the published one ({published.sha256[:12]}), which stays"
    return Cell(
        build=step.build,
        outcome=_OUTCOMES[step.state],
        filename=published.filename,
        sha256=published.sha256,
        detail=said if differs else "",
    )


_OUTCOMES = {
    State.NEW: "built",
    State.COMPILED: "finished",
    State.BUILT: "finished",
    State.PUBLISHED: "published before",
}


def _failed(build: Build, workshop: Workshop, error: Exception) -> Cell:
    """A build that failed, whatever the reason, blocks no other; a fault of ours leaves its traceback in a log."""
    full = as_disk_error(error) if isinstance(error, OSError) else None
    if full is not None or isinstance(error, ArmwheelsError):
        return Cell(build=build, outcome="failed", detail=str(full or error))
    log = workshop.toolbox.home / "logs" / f"{build.id}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return Cell(build=build, outcome="failed", detail=f"{type(error).__name__}: {error}\ntraceback: {log}")


def _publish(
    matrix: str, cells: tuple[Cell, ...], workshop: Workshop, index: Index, channel: str
) -> tuple[str | None, bool, str]:
    """Upload, snapshot and move; returns the channel's snapshot, whether it moved, and why not."""
    state = index.channel(channel)
    there = index.snapshot_files(state.snapshot) if state.snapshot else {}
    files = {cell.filename: cell for cell in cells if cell.filename is not None}
    news = sorted(name for name in files if name not in there)
    required = [cell.build.id for cell in cells if cell.missing and cell.build.required]
    for name, cell in files.items():
        if name in there and cell.wheel is not None:
            put_evidence(index, cell.wheel)
    if not files:
        return state.snapshot, False, "nothing was built"
    if not news:
        return state.snapshot, False, _held(required) or "nothing new: no snapshot was made"
    session = _session(workshop.toolbox.home, matrix, tuple(news))
    for name in news:
        cell = files[name]
        if cell.wheel is None:
            index.adopt(name, session.name)
            continue
        index.upload(cell.wheel.path, session.name)
        put_evidence(index, cell.wheel)
    made = index.make_snapshot(session.name, state)
    if required:
        return state.snapshot, False, f"snapshot {made.id} was made; {_held(required)}"
    if made.id == state.snapshot:
        return made.id, False, "nothing new: no snapshot was made"
    index.move(channel, made.id, state.serial, f"armwheels nightly --matrix {matrix}")
    return made.id, True, f"{channel} moved to {made.id}"


def close_channel(matrix: str, builds: tuple[Build, ...], home: Path, *, channel: str) -> str | None:
    """Have the local index take in what the builds' wheels depend on; it prints what it takes.

    An index elsewhere does so where its store is: returned is the command for its operator then.

    Raises:
        PublishError: it could not take in all of it. The wheels are published all the same.
    """
    projects = sorted({build.recipe.project for build in builds})
    glibc = min((build.recipe.build.glibc for build in builds), key=Version)
    command = ["mirror", *projects, "--matrix", matrix, "--glibc", glibc, "--channel", channel]
    if os.environ.get("ARMWHEELS_INDEX"):
        return " ".join(["armwheels-index", *command])
    environment = {**os.environ, "ARMWHEELS_HOME": str(home)}
    if subprocess.run([_index_program(), *command], env=environment, check=False).returncode:
        raise PublishError(
            "the wheels are published, but not all that they depend on; the same command goes on from there"
        )
    return None


def put_evidence(index: Index, wheel: Wheel) -> None:
    """Store what was found out about an uploaded wheel; what is there already is no news."""
    index.put_evidence(wheel.sha256, "audit", wheel.audit.model_dump(mode="json"))
    index.put_evidence(wheel.sha256, "emulation", wheel.verify.model_dump(mode="json"))


def _held(required: list[str]) -> str:
    return f"the channel stays: required and missing are {', '.join(required)}" if required else ""


def _session(home: Path, matrix: str, files: tuple[str, ...]) -> Session:
    """The session of this set of files; kept on disk first, so that a killed upload goes on in it."""
    path = home / "sessions" / f"{matrix}.json"
    if path.is_file():
        kept = Session.model_validate_json(path.read_text(encoding="utf-8"))
        if kept.files == files:
            return kept
    fresh = Session(name=secrets.token_urlsafe(24), files=files)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".fresh")
    beside.write_text(json.dumps(fresh.model_dump(mode="json")), encoding="utf-8")
    beside.replace(path)
    return fresh


def _end_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies, however it dies (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@contextmanager
def open_index(home: Path, *, write: bool = True, scopes: tuple[str, ...] = ()) -> Iterator[Index]:
    """The index of ``ARMWHEELS_INDEX`` with ``ARMWHEELS_TOKEN``, else one on loopback for this run alone.

    The token made for that run may do what publishing needs, or what ``scopes`` say.

    Raises:
        PublishError: the local index does not start; its own words are in the message.
    """
    if url := os.environ.get("ARMWHEELS_INDEX"):
        with Index(url, os.environ.get("ARMWHEELS_TOKEN")) as index:
            yield index
        return
    program = _index_program()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {**os.environ, "ARMWHEELS_HOME": str(home)}
        token = _run_token(program, environment, scopes) if write or not _open_reads() else None
        ready, log = scratch / "ready", scratch / "log"
        server = subprocess.Popen(
            [program, "serve", "--port", "0", "--ready-file", str(ready)],
            env=environment,
            stdout=stack.enter_context(log.open("w")),
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,
        )
        stack.callback(_stop, server)
        deadline = time.monotonic() + 60
        while not ready.is_file():
            if server.poll() is not None or time.monotonic() > deadline:
                raise PublishError(f"the local index did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield stack.enter_context(Index(ready.read_text().strip(), token))


def _index_program() -> str:
    return str(Path(sys.executable).parent / "armwheels-index")


def _open_reads() -> bool:
    return os.environ.get("ARMWHEELS_READS", "open") == "open"


def _run_token(program: str, environment: dict[str, str], scopes: tuple[str, ...]) -> str:
    """A token for this run, which the index forgets after two days."""
    allowed = [part for scope in scopes for part in ("--scope", scope)]
    made = subprocess.run(
        [program, "token", "--name", "this run", "--expires-days", "2", *allowed],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise PublishError(f"the local index gives no token: {made.stderr.strip()}")
    return made.stdout.strip().splitlines()[-1]


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
