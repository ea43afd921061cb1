"""The results of a bench run: frozen models, whose JSON is stored and uploaded as evidence."""

from __future__ import annotations

from statistics import median
from typing import Literal

from pydantic import Field

from builder.model.base import Frozen

BENCH_VERSION = 3
"""Increase this when workloads or measurements change. Results are comparable only within one version."""

LEVEL_TWO_BYTES = 16
"""Bytes that a second-level cache moves in a cycle. A Neoverse N1's was measured to give 19 of its 32.

https://chipsandcheese.com/2021/10/22/deep-diving-neoverse-n1/
"""

IMPORT = "import"
"""The first workload of every script, which imports the package."""

PUBLISHED = "the published one"
"""The label of the wheel that the channel has."""

State = Literal["ran", "unavailable", "failed", "died"]


class Workload(Frozen):
    """A workload in the list of a bench script."""

    name: str
    about: str


class Cycles(Frozen):
    """The estimated core cycles of a call (:mod:`builder.bench.cycles`), and its memory traffic.

    ``coverage`` is the share of the instructions that were simulated; ``estimated`` and the bytes are scaled to
    all. ``unmodelled`` is the share of the simulated instructions that the core's model does not have. The bytes
    are those of the instructions' operands, wherever the data lies.
    """

    estimated: int
    coverage: float
    unmodelled: float
    loaded_bytes: int
    stored_bytes: int

    @property
    def at_level_two(self) -> int:
        """The cycles if no access hit the first-level cache: the bytes at the speed of the second-level cache."""
        return max(self.estimated, (self.loaded_bytes + self.stored_bytes) // LEVEL_TWO_BYTES)


class Row(Frozen):
    """The result of one workload with one wheel.

    ``instructions`` has a count for each warm call, or for the only call of ``import``. ``classes`` divides the
    lowest count by class of :mod:`builder.bench.classes`, and ``cycles`` is the estimate of that call; ``import``
    has none, since it runs once, with empty caches. ``seconds`` has the seconds per call of each sample, by
    number of threads. ``detail`` has the reason if a measurement is missing or not exact.
    """

    workload: str
    state: State
    detail: str = ""
    instructions: tuple[int, ...] = ()
    classes: dict[str, int] = Field(default_factory=dict)
    cycles: Cycles | None = None
    seconds: dict[int, tuple[float, ...]] = Field(default_factory=dict)

    @property
    def count(self) -> int | None:
        """The lowest number of instructions of a call."""
        return min(self.instructions, default=None)

    @property
    def spread(self) -> float:
        """The relative difference between highest and lowest count: 0.01 if one call took 1 % more than another."""
        return max(self.instructions) / min(self.instructions) - 1 if self.instructions else 0.0

    def best(self, threads: int) -> float | None:
        """The lowest number of seconds per call."""
        return min(self.seconds.get(threads, ()), default=None)

    def middle(self, threads: int) -> float | None:
        """The median number of seconds per call."""
        return median(self.seconds[threads]) if self.seconds.get(threads) else None


class Library(Frozen):
    """A shared library in a wheel, with its unpacked size in bytes."""

    name: str
    bytes: int


class WheelFacts(Frozen):
    """Facts about a wheel file. ``target`` is the passport's, or ``None`` for wheels that others built."""

    label: str
    filename: str
    sha256: str
    bytes: int
    unpacked_bytes: int
    libraries: tuple[Library, ...]
    target: str | None


class Measured(Frozen):
    """One wheel with all its rows. ``packages`` has the versions of the installed distributions by name."""

    wheel: WheelFacts
    packages: dict[str, str]
    rows: tuple[Row, ...]

    def row(self, workload: str) -> Row | None:
        return next((row for row in self.rows if row.workload == workload), None)


class Machine(Frozen):
    """The machine on which the wheels ran.

    ``emulator`` and ``server``, of ``servers.toml``, are ``None`` on a real machine. ``vector_bits`` is 0 without
    SVE, and ``None`` on a real machine. ``core`` is the scheduling model by which cycles are estimated.
    """

    target: str
    server: str | None
    cpu: str
    emulator: str | None
    vector_bits: int | None
    core: str | None = None
    threads: tuple[int, ...]
    environment: dict[str, str]
    system: str
    note: str


class BenchReport(Frozen):
    """The comparison of wheels of one version. If there are two or more, the first is the reference.

    ``reference_note`` states the origin of the reference, or why there is none.
    """

    bench: int = BENCH_VERSION
    project: str
    version: str
    python: str
    machine: Machine
    workloads: tuple[Workload, ...]
    reference_note: str
    measured: tuple[Measured, ...]

    @property
    def pairs(self) -> tuple[tuple[Measured | None, Measured], ...]:
        """Each wheel with its reference, which is ``None`` if there is only one wheel."""
        first, *others = self.measured
        return tuple((first, other) for other in others) if others else ((None, first),)

    def about(self, sha256: str) -> BenchReport:
        """Return the report with only the reference and one wheel, as evidence about that wheel."""
        chosen = tuple(m for m in self.measured if m is self.measured[0] or m.wheel.sha256 == sha256)
        return self.model_copy(update={"measured": chosen})


class Comparison(Frozen):
    """A wheel held against another one.

    ``ratios`` has the instructions of each workload divided by the other wheel's, where both ran.
    """

    against: str
    filename: str
    sha256: str
    ratios: dict[str, float]


class BenchVerdict(Frozen):
    """The evidence ``bench`` of a wheel: its counts beside those of the wheels that people have, and a verdict.

    ``faults`` has why it did not pass. ``allowed`` has the workloads above the limit that the recipe names, with
    its reason. ``reports`` has the counts, one report for each other wheel; none if there is no other wheel, and
    ``note`` then says so.
    """

    bench: int = BENCH_VERSION
    sha256: str
    passed: bool
    limit: float
    note: str
    faults: tuple[str, ...]
    allowed: dict[str, str]
    comparisons: tuple[Comparison, ...]
    reports: tuple[BenchReport, ...]

    @property
    def worst(self) -> tuple[float, str, str] | None:
        """The highest ratio, its workload, and the wheel that it was held against."""
        every = [(ratio, name, one.against) for one in self.comparisons for name, ratio in one.ratios.items()]
        return max(every, default=None)

    @property
    def sentence(self) -> str:
        """A sentence about the instructions of the wheel beside those of others."""
        if self.worst is None:
            return f"bench: {self.note}"
        ratio, workload, against = self.worst
        allowed = f", {len(self.allowed)} allowed by the recipe" if self.allowed else ""
        return f"bench: at most {ratio:.2f} times the instructions of {against} ({workload}){allowed}"

    @property
    def against_published(self) -> float | None:
        """The highest ratio to the wheel that the channel had, if there was one."""
        ratios = [
            ratio for one in self.comparisons if one.against == PUBLISHED for ratio in one.ratios.values()
        ]
        return max(ratios, default=None)
