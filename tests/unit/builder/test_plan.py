"""Digests name what they should and nothing else, and a plan says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.digests import Ingredients, RustFacts, digest
from builder.errors import ConfigError
from builder.model.matrix import Cells, Matrix
from builder.model.recipe import Recipe
from builder.model.sources import Follow, Followed
from builder.plan import Known, State, differences, make_builds, make_plan, no_python, recipe_faults
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for, ingredients_for


def _changed(**sections: object) -> Recipe:
    return validate(Recipe, {**RECIPE, **sections}, origin="demo.toml")


def test_a_build_is_named_by_its_cell(recipe: Recipe, targets: Targets) -> None:
    build = build_for(recipe, targets)
    assert build.id == "demo-1.0-cp311-neoverse-v1-openblas"
    assert build.full_version == "1.0+neoverse.v1"
    assert build.build_tag == f"1_{build.wheel_digest[:8]}"
    assert build.flags == ("-mcpu=neoverse_v1",)
    assert build_for(recipe, targets, backend="reference").full_version == "1.0+neoverse.v1.reference"


def test_an_alias_is_its_target(recipe: Recipe, targets: Targets) -> None:
    assert build_for(recipe, targets, "graviton3") == build_for(recipe, targets, "neoverse-v1")


def test_what_the_compiler_sees_changes_both_digests(recipe: Recipe, targets: Targets) -> None:
    before = build_for(recipe, targets)
    options = _changed(build={**RECIPE["build"], "options": ["-Dx=2"]})
    for after in (
        build_for(options, targets),
        build_for(recipe, targets, "neoverse-n1"),
        build_for(recipe, targets, lock_digests={("demo", "cp311"): "c" * 64}),
        build_for(recipe, targets, backend="reference"),
    ):
        assert after.compile_digest != before.compile_digest
        assert after.wheel_digest != before.wheel_digest


def test_repair_changes_the_wheel_digest_alone(recipe: Recipe, targets: Targets) -> None:
    before = build_for(recipe, targets)
    for changed in (
        {"repair_tools": {"auditwheel": "7"}},
        {"stages": {"compile": 1, "repair": 2, "setuptools": 1}},
    ):
        after = build_for(recipe, targets, **changed)
        assert after.compile_digest == before.compile_digest
        assert after.wheel_digest != before.wheel_digest
    renumbered = build_for(_changed(build_number=2), targets)
    assert renumbered.compile_digest == before.compile_digest
    assert renumbered.wheel_digest != before.wheel_digest


def test_audit_and_verify_are_in_no_digest(recipe: Recipe, targets: Targets) -> None:
    before = build_for(recipe, targets)
    audited = _changed(
        audit={"max_size_bytes": 5},
        promises={"neoverse-v1": ["sve", "lse"]},
        verify={"script": "other.py", "pytest": ["x"]},
    )
    after = build_for(audited, targets)
    assert (after.compile_digest, after.wheel_digest) == (before.compile_digest, before.wheel_digest)


def test_the_target_reaches_the_compiler_by_its_flags_alone(recipe: Recipe, targets: Targets) -> None:
    text = str(build_for(recipe, targets).compile_inputs)
    assert "neoverse-v1" not in text
    assert text.count("neoverse_v1") == 1


def test_options_of_one_target_touch_that_target_alone(recipe: Recipe, targets: Targets) -> None:
    special = _changed(targets={"neoverse-v1": {"options": ["-Dvector=256"]}})
    assert build_for(special, targets).compile_digest != build_for(recipe, targets).compile_digest
    assert (
        build_for(special, targets, "generic").compile_digest
        == build_for(recipe, targets, "generic").compile_digest
    )


def test_units_for_other_cpus_enter_the_digest_where_a_target_never_calls_them(
    recipe: Recipe, targets: Targets
) -> None:
    dispatching = _changed(build={**RECIPE["build"], "dispatched": {"*.SVE256.cpp": "sve"}})
    assert build_for(dispatching, targets, "neoverse-n1").foreign_paths == ("*.SVE256.cpp",)
    for target, same in (("neoverse-n1", False), ("neoverse-v1", True)):
        before, after = (build_for(one, targets, target).compile_digest for one in (recipe, dispatching))
        assert (before == after) is same


def test_all_faults_of_a_matrix_are_told_together(recipe: Recipe, targets: Targets) -> None:
    recipe = _changed(build={**RECIPE["build"], "dispatched": {"*.SVE256.cpp": "svee"}})
    cells = {
        "recipe": "demo",
        "versions": ["9.9"],
        "pythons": ["cp399"],
        "targets": ["generic"],
        "backends": ["mkl"],
    }
    matrix = validate(Matrix, {"description": "x", "cells": [cells, {**cells, "recipe": "gone"}]}, origin="m")
    with pytest.raises(ConfigError) as caught:
        make_builds(matrix, {"demo": recipe}, targets, ingredients_for(recipe))
    for word in ("9.9", "cp399", "mkl", "no recipe 'gone'", "no target with the feature 'svee'"):
        assert word in str(caught.value)


def test_a_matrix_is_the_product_of_its_lists_once(recipe: Recipe, targets: Targets) -> None:
    cells = {
        "recipe": "demo",
        "versions": ["1.0"],
        "pythons": ["cp311"],
        "targets": ["generic", "neoverse-n1", "graviton2"],
        "backends": ["openblas", "reference"],
    }
    matrix = validate(Matrix, {"description": "x", "cells": [cells]}, origin="m")
    builds = make_builds(matrix, {"demo": recipe}, targets, ingredients_for(recipe))
    assert [b.id.removeprefix("demo-1.0-cp311-") for b in builds] == [
        "generic-openblas",
        "generic-reference",
        "neoverse-n1-openblas",
        "neoverse-n1-reference",
    ]


def test_a_matrix_names_what_a_recipe_follows_and_gets_the_pinned_version(
    recipe: Recipe, targets: Targets
) -> None:
    follow = Follow(url="https://example.org/demo", ref="main", options=("-Dmore=1",))
    following = recipe.model_copy(update={"follows": {"nightly": follow}})
    matrix = Matrix(
        description="d",
        cells=(
            Cells(
                recipe="demo",
                versions=("1.0", "nightly"),
                pythons=("cp311",),
                targets=("generic",),
                backends=("openblas",),
            ),
        ),
    )
    with pytest.raises(ConfigError, match="follows 'nightly', which is not pinned; run `armwheels lock"):
        make_builds(matrix, {"demo": following}, targets, ingredients_for(following))
    pinned = Followed(version="2.0.dev20261125", commit="c" * 40, epoch=1_795_600_000)
    whole = following.with_followed({"nightly": pinned})
    builds = make_builds(matrix, {"demo": whole}, targets, ingredients_for(whole))
    assert [build.version for build in builds] == ["1.0", "2.0.dev20261125"]
    assert [build.options for build in builds] == [("-Dx=1",), ("-Dx=1", "-Dmore=1")]


def test_a_plan_says_how_far_a_build_is_and_why(recipe: Recipe, targets: Targets) -> None:
    build = build_for(recipe, targets)
    other = build_for(_changed(build={**RECIPE["build"], "options": ["-Dx=2", "-Dy=3"]}), targets)

    def state(known: Known) -> tuple[State, str]:
        [step] = make_plan([build], known)
        return step.state, step.why

    assert state(Known())[0] is State.NEW
    assert state(Known(compiled=frozenset({build.compile_digest})))[0] is State.COMPILED
    assert state(Known(built=frozenset({build.wheel_digest})))[0] is State.BUILT
    everything = frozenset({build.wheel_digest})
    assert state(Known(built=everything, published=everything))[0] is State.PUBLISHED
    new, why = state(Known(last_inputs={build.id: other.compile_inputs}))
    assert new is State.NEW
    assert why == "changed: options --Dx=2 --Dy=3 +-Dx=1"


plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(st.text(max_size=3), plain, max_size=4)


@given(tables, tables)
def test_inputs_differ_in_words_exactly_when_their_digests_do(one: dict, other: dict) -> None:
    assert bool(differences(one, other)) == (one != other)
    assert (digest(one) == digest(other)) == (one == other)


@given(tables)
def test_a_digest_does_not_depend_on_the_order_of_keys(table: dict) -> None:
    assert digest(dict(reversed(table.items()))) == digest(table)


def test_parts_that_a_recipe_wants_enter_the_digest_and_must_be_pinned(targets: Targets) -> None:
    recipe = _changed(build={**RECIPE["build"], "programs": ["llvm"]})
    plain, with_part = build_for(_changed(), targets), build_for(recipe, targets)
    assert set(with_part.compile_inputs["toolchain"]) - set(plain.compile_inputs["toolchain"]) == {"llvm"}
    matrix = validate(
        Matrix,
        {
            "description": "d",
            "cells": [
                {
                    "recipe": "demo",
                    "versions": ["1.0"],
                    "pythons": ["cp311"],
                    "targets": ["generic"],
                    "backends": ["openblas"],
                }
            ],
        },
        origin="m",
    )
    unpinned = _changed(build={**RECIPE["build"], "libraries": ["vectors"]})
    with pytest.raises(ConfigError, match=r"wants the part 'vectors'.*run `armwheels lock --part vectors`"):
        make_builds(matrix, {"demo": unpinned}, targets, ingredients_for(unpinned))
    for part in ("llvm", "zig", "userland-cp311"):
        stale = ingredients_for(recipe, stale_parts=frozenset({part, "another"}))
        with pytest.raises(ConfigError, match=rf"the part '{part}'.*run `armwheels lock --part {part}`$"):
            make_builds(matrix, {"demo": recipe}, targets, stale)


def test_fortran_enters_the_digest_of_recipes_that_have_it_alone(targets: Targets) -> None:
    build = {**RECIPE["build"], "compiler": "gcc-14", "glibc": "2.31"}
    plain, fortran = (
        build_for(_changed(build={**build, **more}), targets) for more in ({}, {"fortran": True})
    )
    assert set(fortran.compile_inputs["toolchain"]) - set(plain.compile_inputs["toolchain"]) == {
        "gfortran-14",
        "libgfortran",
    }
    assert fortran.compile_inputs["settings"] == plain.compile_inputs["settings"]


def test_fortran_with_a_compiler_that_has_none_is_refused(targets: Targets) -> None:
    recipe = _changed(build={**RECIPE["build"], "fortran": True})
    assert recipe_faults(recipe, targets, ingredients_for(recipe).compilers) == [
        "recipe demo: build.fortran: compiler 'zig' has no Fortran; these have: gcc-14"
    ]
    able = _changed(build={**RECIPE["build"], "compiler": "gcc-14", "fortran": True})
    assert recipe_faults(able, targets, ingredients_for(able).compilers) == []


def test_crates_from_a_registry_need_one_that_is_named(targets: Targets) -> None:
    build = {**RECIPE["build"], "frontend": "maturin", "options": [], "rust": {"crates": "registry"}}
    recipe = _changed(build=build)
    cells = {
        "recipe": "demo",
        "versions": ["1.0"],
        "pythons": ["cp311"],
        "targets": ["generic"],
        "backends": ["openblas"],
    }
    matrix = validate(Matrix, {"description": "d", "cells": [cells]}, origin="m")
    plain = ingredients_for(recipe)

    def with_registry(registry: str | None) -> Ingredients:
        return replace(
            plain, stages={**plain.stages, "rust": 1}, rust=RustFacts("1.96.0", ("zig",), registry)
        )

    with pytest.raises(ConfigError, match="recipe demo takes its crates from a cargo registry"):
        make_builds(matrix, {"demo": recipe}, targets, with_registry(None))
    [made] = make_builds(matrix, {"demo": recipe}, targets, with_registry("config.toml"))
    assert made.compile_inputs["rust"] == [1, "1.96.0", "registry"]


def test_a_free_threaded_python_is_understood() -> None:
    table = {"recipe": "demo", "versions": ["1.0"], "targets": ["generic"], "backends": ["openblas"]}
    cells = validate(Cells, {**table, "pythons": ["cp313t"]}, origin="matrices.toml")
    assert cells.pythons == ("cp313t",)
    known = ["cp313", "cp311"]
    assert no_python("cp313t", known) == (
        "no Python 'cp313t': Debian has no free-threaded CPython (PEP 703); there are cp311, cp313"
    )
    assert no_python("cp31", known) == "no Python 'cp31'; did you mean 'cp313'?"
    assert no_python("xy", known) == "no Python 'xy'; there are cp311, cp313"


def test_a_wheel_of_the_stable_abi_is_built_once_and_tested_on_every_python(targets: Targets) -> None:
    recipe = _changed(build={**RECIPE["build"], "stable_abi": True})
    pythons = ("cp314", "cp311", "cp39")
    ingredients = ingredients_for(
        recipe,
        lock_digests={("demo", python): "b" * 64 for python in pythons},
        identifiers={python: f"{python}-manylinux_aarch64" for python in pythons},
        tool_digests={
            **ingredients_for(recipe).tool_digests,
            **{
                f"{kind}-{python}": "c" * 64
                for kind in ("python", "headers", "userland")
                for python in pythons
            },
        },
    )
    blocks = [
        Cells(recipe="demo", versions=("1.0",), pythons=some, targets=("generic",), backends=("openblas",))
        for some in (pythons[:2], pythons)
    ]
    matrix = Matrix(description="all", cells=(blocks[1],))
    [build] = make_builds(matrix, {"demo": recipe}, targets, ingredients)
    assert build.python == "cp39"
    assert build.tested == ("cp311", "cp314")
    # Blocks that meet in one build test it on the Pythons of both.
    both = Matrix(description="both", cells=(blocks[0], blocks[0].model_copy(update={"pythons": ("cp311",)})))
    [build] = make_builds(both, {"demo": recipe}, targets, ingredients)
    assert (build.python, build.tested) == ("cp311", ("cp314",))
