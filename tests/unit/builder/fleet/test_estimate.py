"""The cost of a night, from what earlier builds cost."""

from __future__ import annotations

from typing import Any

import pytest

from builder.fleet.estimate import Measured, estimate, measured_of
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for


def measured(build: str, cpu: float, shared: int, compiled: int) -> Measured:
    return Measured(build=build, cpu_seconds=cpu, shared=shared, compiled=compiled, proof_seconds=10)


def test_a_further_target_costs_what_it_does_not_share(targets: Targets) -> None:
    given: dict[str, Any] = {**RECIPE, "build": {**RECIPE["build"], "hot_paths": ["core/**"]}}
    recipe = validate(Recipe, given, origin="demo.toml")
    builds = [build_for(recipe, targets, name) for name in ("generic", "neoverse-n1", "neoverse-v1")]
    known = {
        builds[0].id: measured(builds[0].id, 800, 0, 100),
        builds[1].id: measured(builds[1].id, 200, 75, 25),
    }
    found = estimate(builds, known)
    assert [cost.cold for cost in found.costs] == [800, 800, 800]
    assert [cost.warm for cost in found.costs] == [800, 200, 200]
    assert [cost.basis for cost in found.costs] == ["this build", "this build", "2 of demo 1.0, cp311"]
    assert found.cold == 2430


def test_hosts_share_the_builds(recipe: Recipe, targets: Targets) -> None:
    builds = [build_for(recipe, targets, name) for name in ("generic", "neoverse-n1", "neoverse-v1")]
    known = {build.id: measured(build.id, 100, 0, 5) for build in builds}
    found = estimate(builds, known)
    assert found.warm == 330
    assert found.wall(1, 2) == pytest.approx(165)
    assert found.wall(4, 2) == found.wall(16, 2) == pytest.approx(60)


def test_what_nobody_measured_is_unknown(recipe: Recipe, targets: Targets) -> None:
    build = build_for(recipe, targets)
    assert estimate([build], {}).unknown == (build.id,)
    needs = {**RECIPE, "build": {**RECIPE["build"], "needs": {"cpu_minutes": 3}}}
    named = build_for(validate(Recipe, needs, origin="demo.toml"), targets)
    [cost] = estimate([named], {}).costs
    assert (cost.cold, cost.basis) == (180, "cpu_minutes of the recipe, without its proof")


def test_the_newest_report_of_a_build_counts() -> None:
    def row(cpu: float, outcome: str = "built") -> dict[str, Any]:
        stages = {"compile": 40.0, "audit": 2.0, "verify": 8.0}
        return {
            "build": "demo",
            "outcome": outcome,
            "cpu_seconds": cpu,
            "shared": 1,
            "compiled": 2,
            "stages": stages,
            "seconds": 1.5,
        }

    reports = [{"rows": [row(0, "published before")]}, {"rows": [row(5)]}, {"rows": [row(7)]}]
    known, unchanged = measured_of(reports)
    assert known == {"demo": Measured(build="demo", cpu_seconds=5, shared=1, compiled=2, proof_seconds=10)}
    assert unchanged == 1.5
