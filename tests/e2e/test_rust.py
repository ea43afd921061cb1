"""orjson from its source with vendored crates: compiled by rustc for one CPU, audited and run."""

from __future__ import annotations

import pytest

from builder.audit import open_wheel
from builder.compile.units import read_record
from builder.cpus import load_targets
from builder.ingredients import gather_ingredients
from builder.load import load_recipes
from builder.plan import make_build
from builder.toolbox.toolbox import Toolbox
from builder.workshop import Workshop
from tests.helpers.places import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _silent(what: str, done: int, total: int) -> None:
    return None


def test_crates_are_compiled_for_the_target(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(place.configs))
    monkeypatch.setenv("ARMWHEELS_HOME", str(place.home))
    workshop = Workshop(Toolbox(home=place.home), load_targets())
    recipes = load_recipes()
    recipe = recipes["orjson"]
    [version] = recipe.versions
    build = make_build(
        recipe,
        version=version,
        python="cp313",
        target="neoverse-v1",
        backend="none",
        required=True,
        targets=workshop.targets,
        ingredients=gather_ingredients(recipes, workshop.toolbox.toolchains, workshop.toolbox.pins),
    )
    built = workshop.build(build, _silent)
    assert built.audit.passed, built.audit
    record = read_record(workshop.compiled_folder(build))
    assert record is not None
    assert {unit.level for unit in record.units if unit.unit.startswith("crate ")} == {"-O3"}
    assert "crate orjson" in {unit.unit for unit in record.units}
    passport = open_wheel(built.path).passport
    assert passport is not None
    assert "rustc-web" in {file["name"] for file in passport["toolchain"]}
    run = workshop.verify(build, built.path, _silent)
    assert run.passed, run
