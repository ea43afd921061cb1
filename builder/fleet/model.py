"""What a workflow, its activities and its client tell each other. Frozen data: Temporal stores it as JSON.

Reports are too large for that. They stay on the host that made them, and go to the index as evidence.
"""

from __future__ import annotations

import platform

from pydantic import ConfigDict

from builder.model.base import Frozen

KINDS = ("", "-arm64")
"""What follows the names of task queues on each kind of host: x86-64, arm64."""
KIND = KINDS[platform.machine() == "aarch64"]
"""The kind of this host. A night keeps to hosts of the kind that ordered it: native builds and cross builds have
other compilers, and so other digests."""
CONTROL = f"armwheels{KIND}"
"""The task queue of workflows and of what needs the index alone: plan, snapshot, move."""
COMPILE = f"armwheels-compile{KIND}"
"""The task queue of compiles."""


class Told(Frozen):
    """Base of what is stored in a history; unknown keys are ignored, so that a newer worker may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Order(Told):
    """A night: which matrix, for which channel. ``lease`` is how many seconds a silent worker keeps a build."""

    matrix: str
    channel: str
    lease: float


class Planned(Told):
    """A build of the plan. ``filename`` and ``sha256`` are those of the published wheel, if there is one."""

    build: str
    wheel_digest: str
    required: bool
    state: str
    why: str
    filename: str | None = None
    sha256: str | None = None
    held_on: str | None = None
    """The queue of the host that has the published wheel, which is checked again there."""
    detail: str = ""


class Plan(Told):
    """The builds of a night, its upload session, and the channel's snapshot, with which wheels are compared."""

    night: str
    steps: tuple[Planned, ...]
    session: str
    snapshot: str | None


class Task(Told):
    """One stage of one build. ``attempt`` counts the attempts of a build, and fences off those of lost workers."""

    night: str
    matrix: str
    build: str
    wheel_digest: str
    session: str
    snapshot: str | None
    attempt: int
    sha256: str | None = None


class BuildOrder(Told):
    """One build of a night; the fields are those of :class:`Order` and :class:`Plan`."""

    night: str
    matrix: str
    session: str
    snapshot: str | None
    lease: float
    step: Planned


class Finished(Told):
    """What a stage found out. ``faults`` say why the wheel must not be published.

    ``host`` is the queue of the host on which the output lies, and ``seconds`` the time that the stage took.
    """

    host: str
    seconds: float
    faults: tuple[str, ...] = ()
    note: str = ""
    filename: str = ""
    sha256: str = ""
    size: int = 0
    cpu_seconds: float = 0.0
    shared: int = 0
    """Units that came from the compile cache."""
    compiled: int = 0
    """Units that were compiled."""
    speed: float | None = None
    """The most instructions of a workload, as a multiple of the wheel that the channel had."""


class Stage(Told):
    """One stage in the report of a night."""

    name: str
    host: str
    seconds: float


class Result(Told):
    """The result of one build: its file, or the reason why it has none. ``size`` is in bytes."""

    build: str
    required: bool
    outcome: str
    filename: str | None = None
    sha256: str | None = None
    detail: str = ""
    size: int = 0
    lesser: str = ""
    bench: str = ""
    speed: float | None = None
    cpu_seconds: float = 0.0
    shared: int = 0
    compiled: int = 0
    stages: tuple[Stage, ...] = ()
    attempts: int = 1

    @property
    def missing(self) -> bool:
        """Whether there is no wheel to publish."""
        return self.filename is None


class Publication(Told):
    """What is to be published: ``files`` are names of wheels, ``missing`` ids of required builds without one."""

    matrix: str
    channel: str
    session: str
    files: tuple[str, ...]
    missing: tuple[str, ...]
    nonce: str


class Snapshot(Told):
    """The snapshot that was made, if any, and the state of the channel before the move to it."""

    id: str | None
    serial: int
    before: str | None


class Published(Told):
    """The channel's snapshot after the night, whether the night moved it, and a sentence about it."""

    snapshot: str | None
    moved: bool
    detail: str


class Night(Told):
    """A night that has ended."""

    night: str
    matrix: str
    channel: str
    results: tuple[Result, ...]
    published: Published
    began: str
    """When it began: UTC, ISO 8601."""


class Working(Told):
    """What a worker is doing: the details of a heartbeat."""

    build: str
    what: str
    done: int
    steps: int


class Promotion(Told):
    """A promotion: which channel is moved, to a snapshot that another one has shown for ``days`` days.

    A closed gate is asked again after ``every`` seconds, for ``patience`` seconds.
    """

    channel: str
    source: str
    days: float
    every: float = 900.0
    patience: float = 72_000.0


class Try(Told):
    """One attempt of a promotion. ``now`` is the workflow's time, in ISO 8601."""

    asked: Promotion
    now: str
    nonce: str


class Promoted(Told):
    """The result of an attempt; ``waits`` says that a later one may succeed."""

    snapshot: str | None
    moved: bool
    waits: bool
    detail: str
