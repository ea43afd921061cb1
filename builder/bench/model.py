"""What a bench run found: frozen, and as JSON the evidence that is kept and sent on."""

from __future__ import annotations

from statistics import median
from typing import Literal

from pydantic import Field

from builder.model.base import Frozen

BENCH_VERSION = 1
"""Raised by hand when workloads or the way of measuring change, so that results are compared with their like."""

IMPORT = "import"
"""The workload every script runs first: importing the package."""

State = Literal["ran", "unavailable", "failed", "died"]


class Workload(Frozen):
    """A workload as its script lists it."""

    name: str
    about: str


class Row(Frozen):
    """One workload on one wheel.

    ``instructions`` holds a count for each of several warm calls (``import``: its only one); ``classes`` is the
    part of the least of them that falls in each class of :mod:`builder.bench.classes`. ``seconds`` holds, by
    number of threads, seconds a call. ``detail`` says why nothing was measured.
    """

    workload: str
    state: State
    detail: str = ""
    instructions: tuple[int, ...] = ()
    classes: dict[str, int] = Field(default_factory=dict)
    seconds: dict[int, tuple[float, ...]] = Field(default_factory=dict)

    @property
    def count(self) -> int | None:
        """The least number of instructions a call took."""
        return min(self.instructions, default=None)

    @property
    def spread(self) -> float:
        """How far apart the calls were: 0 where each took the same, 0.01 where one took 1 % more than another."""
        return max(self.instructions) / min(self.instructions) - 1 if self.instructions else 0.0

    def best(self, threads: int) -> float | None:
        """The least seconds a call took."""
        return min(self.seconds.get(threads, ()), default=None)

    def middle(self, threads: int) -> float | None:
        """The median seconds a call took."""
        return median(self.seconds[threads]) if self.seconds.get(threads) else None


class Library(Frozen):
    """A shared library a wheel brings along; bytes unpacked."""

    name: str
    bytes: int


class WheelFacts(Frozen):
    """A wheel as a file. ``target`` is its passport's, ``None`` for wheels that others built."""

    label: str
    filename: str
    sha256: str
    bytes: int
    unpacked_bytes: int
    libraries: tuple[Library, ...]
    target: str | None


class Measured(Frozen):
    """One wheel with all its rows; ``packages`` are the distributions that were installed for it, by version."""

    wheel: WheelFacts
    packages: dict[str, str]
    rows: tuple[Row, ...]

    def row(self, workload: str) -> Row | None:
        return next((row for row in self.rows if row.workload == workload), None)


class Machine(Frozen):
    """What the wheels ran on. ``emulator`` is ``None`` on a real machine; ``vector_bits`` is 0 without SVE."""

    target: str
    cpu: str
    emulator: str | None
    vector_bits: int | None
    threads: tuple[int, ...]
    environment: dict[str, str]
    system: str
    note: str


class BenchReport(Frozen):
    """Wheels of one version side by side; the first is the reference where there are two or more.

    ``reference_note`` says where the reference came from, or why there is none.
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
        """Each wheel with the reference to hold it against; one wheel alone has none."""
        first, *others = self.measured
        return tuple((first, other) for other in others) if others else ((None, first),)

    def about(self, sha256: str) -> BenchReport:
        """The part that concerns one wheel: itself and the reference, as evidence beside that file."""
        chosen = tuple(m for m in self.measured if m is self.measured[0] or m.wheel.sha256 == sha256)
        return self.model_copy(update={"measured": chosen})
