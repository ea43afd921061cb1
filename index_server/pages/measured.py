"""What a client measured of a wheel, as evidence has it. Pure.

Evidence is what a client sent. A report that does not have the builder's form is not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

LEAST_SHOWN = 0.98  # a ratio between this and the limit is neither better nor worse


class Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Cycles(Lenient):
    estimated: int


class Row(Lenient):
    workload: str
    state: str
    instructions: list[int] = []
    cycles: Cycles | None = None
    seconds: dict[str, list[float]] = {}

    @property
    def count(self) -> float | None:
        return min(self.instructions, default=None)

    @property
    def estimate(self) -> float | None:
        return self.cycles.estimated if self.cycles is not None else None

    def time(self, threads: str = "1") -> float | None:
        return min(self.seconds.get(threads, []), default=None)


class Wheel(Lenient):
    label: str
    filename: str


class Measured(Lenient):
    wheel: Wheel
    rows: list[Row]


class Machine(Lenient):
    target: str
    server: str | None = None
    cpu: str = ""
    emulator: str | None = None
    core: str | None = None
    threads: list[int] = []
    system: str = ""


class Report(Lenient):
    machine: Machine
    measured: list[Measured] = Field(min_length=1, max_length=2)

    @property
    def other(self) -> Measured | None:
        return self.measured[0] if len(self.measured) == 2 else None

    @property
    def own(self) -> Measured:
        return self.measured[-1]


class Verdict(Lenient):
    passed: bool
    limit: float
    note: str
    faults: list[str]
    allowed: dict[str, str]
    reports: list[Report]


ModelT = TypeVar("ModelT", bound=BaseModel)


def read_as(model: type[ModelT], body: object) -> ModelT | None:
    """Return a report of this form, or None."""
    try:
        return model.model_validate(body)
    except ValidationError:
        return None


class Speed(NamedTuple):
    """The instructions of a wheel as ratios to those of the wheel that it replaces."""

    mean: float
    """Geometric."""

    worst: float
    workload: str
    """The one that has the worst ratio."""

    workloads: int
    """How many were counted on the same machines for both."""

    limit: float
    """The ratio above which a workload is worse."""

    @property
    def style(self) -> str:
        """How a page marks it: ``worse``, ``better`` or nothing."""
        return "worse" if self.worst > self.limit else "better" if self.mean < LEAST_SHOWN else ""


def speed(new: object, old: object) -> Speed | None:
    """Compare the evidence ``bench`` of two wheels; None where they have no counts in common."""
    verdict = read_as(Verdict, new)
    after, before = dict(_counts(verdict)), dict(_counts(read_as(Verdict, old)))
    ratios = {key: after[key] / before[key] for key in after if before.get(key) and after[key]}
    if verdict is None or not ratios:
        return None
    worst = max(ratios, key=lambda key: (ratios[key], key))
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    return Speed(mean, ratios[worst], worst[1], len({workload for _, workload in ratios}), verdict.limit)


def _counts(verdict: Verdict | None) -> Iterator[tuple[tuple[str, str], float]]:
    """The instructions of each workload, by emulated machine and workload."""
    for report in verdict.reports if verdict is not None else ():
        machine = report.machine
        for row in report.own.rows:
            if machine.emulator is not None and row.state == "ran" and row.count is not None:
                yield (machine.server or machine.target, row.workload), row.count
