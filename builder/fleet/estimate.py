"""What a night over a matrix costs, from what earlier builds of the same recipes cost. Pure.

The first build of a recipe, version, Python and backend compiles every unit. A recipe with ``hot_paths`` shares the
units outside them between its targets through the compile cache, so that each further target compiles the rest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from builder.model.base import Frozen
from builder.model.build import Build


class Measured(Frozen):
    """The cost of one build: CPU-seconds of its compile, units from the cache and compiled, seconds of its proof.

    The proof is repair, audit, the run, the bench and the upload.
    """

    build: str
    cpu_seconds: float
    shared: int
    compiled: int
    proof_seconds: float


class Cost(Frozen):
    """The estimate of one build in CPU-seconds, with ``basis``, the measurement that it rests on.

    ``cold`` is without a compile cache; ``warm`` shares what other targets of the same night compiled.
    """

    build: str
    cold: float
    warm: float
    proof: float
    basis: str


class Estimate(Frozen):
    """The estimate of a night. ``unknown`` builds have no measurement, and their recipes name no time."""

    costs: tuple[Cost, ...]
    unknown: tuple[str, ...]
    unchanged_seconds: float | None
    """Measured seconds of a night's build that the index has already."""

    @property
    def cold(self) -> float:
        """CPU-seconds without any sharing."""
        return sum(cost.cold + cost.proof for cost in self.costs)

    @property
    def warm(self) -> float:
        """CPU-seconds with a compile cache that is empty at first."""
        return sum(cost.warm + cost.proof for cost in self.costs)

    def wall(self, hosts: int, cores: int) -> float:
        """Seconds of a night on ``hosts`` with ``cores`` each: the longest build first, to the host that is free.

        A compile uses all cores of its host, a proof one. A compile is taken to scale with the cores.
        """
        loads = [0.0] * hosts
        for seconds in sorted((cost.warm / cores + cost.proof / cores for cost in self.costs), reverse=True):
            heapq.heapreplace(loads, loads[0] + seconds)
        longest = max((cost.warm / cores + cost.proof for cost in self.costs), default=0.0)
        return max(*loads, longest)


class _Kind(NamedTuple):
    project: str
    version: str
    python: str
    backend: str


def measured_of(reports: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Measured], float | None]:
    """The newest cost of each build in reports of nights, the newest report first, and of an unchanged build."""
    found: dict[str, Measured] = {}
    unchanged = []
    for report in reports:
        for row in report.get("rows", ()):
            if row["outcome"] == "published before":
                unchanged.append(float(row["seconds"]))
            elif row["outcome"] == "built" and row["cpu_seconds"] and row["build"] not in found:
                proof = sum(float(took) for name, took in row["stages"].items() if name != "compile")
                found[row["build"]] = Measured(
                    build=row["build"],
                    cpu_seconds=row["cpu_seconds"],
                    shared=row["shared"],
                    compiled=row["compiled"],
                    proof_seconds=proof,
                )
    return found, median(unchanged) if unchanged else None


def estimate(
    builds: Sequence[Build], measured: Mapping[str, Measured], unchanged: float | None = None
) -> Estimate:
    """The estimate of a night over ``builds``."""
    costs, unknown = [], []
    begun: set[_Kind] = set()
    for build in builds:
        recipe = build.recipe
        kind = _Kind(recipe.project, build.version, build.python, build.backend)
        basis, near = _nearest(build, measured)
        if near:
            cold = median(_cold(one) for one in near)
            proof = median(one.proof_seconds for one in near)
            share = _rest(near) if recipe.build.hot_paths else 1.0
        elif recipe.build.needs.cpu_minutes:
            cold, proof, share = recipe.build.needs.cpu_minutes * 60.0, 0.0, 1.0
            basis = "cpu_minutes of the recipe, without its proof"
        else:
            unknown.append(build.id)
            continue
        warm = cold * share if kind in begun else cold
        begun.add(kind)
        costs.append(Cost(build=build.id, cold=cold, warm=warm, proof=proof, basis=basis))
    return Estimate(costs=tuple(costs), unknown=tuple(unknown), unchanged_seconds=unchanged)


def _nearest(build: Build, measured: Mapping[str, Measured]) -> tuple[str, list[Measured]]:
    """The measurements that say most about a build: its own, of its version and Python, version, or project."""
    if build.id in measured:
        return "this build", [measured[build.id]]
    project = build.recipe.project
    for what, prefix in (
        (f"{project} {build.version}, {build.python}", f"{project}-{build.version}-{build.python}-"),
        (f"{project} {build.version}", f"{project}-{build.version}-"),
        (project, f"{project}-"),
    ):
        if near := [one for name, one in measured.items() if name.startswith(prefix)]:
            return f"{len(near)} of {what}", near
    return "", []


def _cold(one: Measured) -> float:
    """What the compile would have cost without the cache: each unit as much as those that were compiled."""
    units = one.shared + one.compiled
    return one.cpu_seconds * units / one.compiled if one.compiled else one.cpu_seconds


def _rest(near: Sequence[Measured]) -> float:
    """The part of the units that a further target compiles."""
    parts = [one.compiled / (one.shared + one.compiled) for one in near if one.shared and one.compiled]
    return min(parts, default=1.0)
