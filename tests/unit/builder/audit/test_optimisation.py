"""Units without optimisation are refused by name, unless the recipe names them with a reason."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from builder.audit.elf import Elf
from builder.audit.optimisation import check_optimisation
from builder.audit.verdicts import Verdict
from builder.errors import ConfigError
from builder.model.expectations import UnoptimizedUnit
from builder.model.recipe import Recipe
from builder.model.units import Unit, UnitRecord
from builder.settings import validate
from tests.helpers.builds import RECIPE

FAST = "GNU C17 12.2.0 -mcpu=neoverse-v1 -O2"
SLOW = "GNU C17 12.2.0 -mcpu=neoverse-v1 -O2 -O0"
WHY = "GCC 12 compiles it wrongly"
SOUND = Unit(unit="a.c", level="-O2", ndebug=True)
UNOPTIMISED = (Unit(unit="x/b.c", level="", ndebug=True), Unit(unit="x/c.c", level="-O0", ndebug=True))


def elf(*lines: str, member: str = "pkg/m.so") -> Elf:
    return Elf(
        member=member, machine="EM_AARCH64", bits=64, little_endian=True, kind="ET_DYN", command_lines=lines
    )


def check(
    record: UnitRecord | None,
    *elves: Elf,
    allowed: Sequence[UnoptimizedUnit] = (),
    own: bool = True,
) -> Verdict:
    return check_optimisation(elves or (elf(FAST),), record, allowed, own=own)


def record(*units: Unit, gaps: str = "") -> UnitRecord:
    return UnitRecord(units=units, gaps=gaps)


def test_optimised_units_pass_and_are_counted_by_level() -> None:
    found = check(record(SOUND, Unit(unit="b.c", level="-O3", ndebug=True), SOUND))
    assert found.outcome == "pass"
    assert found.detail == "3 units: 2 -O2, 1 -O3; NDEBUG in all"
    assert found.data["levels"] == {"-O2": 2, "-O3": 1}


def test_units_without_optimisation_are_refused_by_name() -> None:
    found = check(record(SOUND, *UNOPTIMISED))
    assert found.outcome == "fail"
    assert found.detail == "2 of 3 units compiled without optimisation\nx/b.c: no -O\nx/c.c: -O0"
    assert found.data["unoptimised"] == ["x/b.c: no -O", "x/c.c: -O0"]


def test_many_are_cut_short() -> None:
    found = check(record(*(Unit(unit=f"{n:02}.c", level="", ndebug=True) for n in range(12))))
    assert found.detail.endswith("\n09.c: no -O\nand 2 more")


def test_a_unit_without_ndebug_is_reported() -> None:
    found = check(record(SOUND, Unit(unit="b.c", level="-O2", ndebug=False)))
    assert found.outcome == "pass"
    assert found.detail == "2 units: 2 -O2; without NDEBUG 1\nb.c"
    assert found.data["without_ndebug"] == ["b.c"]


def test_an_exception_lets_its_units_pass_and_shows_its_reason() -> None:
    allowed = [UnoptimizedUnit(unit="x/*.c", why=WHY)]
    found = check(record(SOUND, *UNOPTIMISED), elf(FAST, SLOW), allowed=allowed)
    assert found.outcome == "pass"
    assert f"2 units without optimisation set aside: {WHY}" in found.detail
    assert found.data["allowed"] == {WHY: 2}


def test_an_exception_covers_no_other_unit() -> None:
    found = check(record(SOUND, *UNOPTIMISED), allowed=[UnoptimizedUnit(unit="*/b.c", why=WHY)])
    assert found.outcome == "fail"
    assert found.data["unoptimised"] == ["x/c.c: -O0"]
    assert WHY in found.detail


def test_an_exception_that_covers_nothing_is_noted() -> None:
    found = check(record(SOUND), allowed=[UnoptimizedUnit(unit="a.*", why=WHY)])
    assert found.outcome == "pass"
    assert "no unit without optimisation matches 'a.*'" in found.detail


def test_what_the_files_have_and_the_record_has_not_is_refused() -> None:
    found = check(record(SOUND), elf(FAST, SLOW))
    assert found.outcome == "fail"
    assert f"that the record does not have\npkg/m.so: {SLOW}" in found.detail


def test_an_empty_record_proves_nothing() -> None:
    assert check(record()).outcome == "fail"
    assert check(record(), elf()).outcome == "not-applicable"


def test_a_record_with_gaps_is_held_against_the_files() -> None:
    found = check(record(SOUND, gaps="Bazel answers"))
    assert found.outcome == "pass"
    assert "Bazel answers: other units are known by the files alone" in found.detail
    assert check(record(SOUND, gaps="Bazel answers"), elf(SLOW)).outcome == "fail"
    assert check(record(gaps="Bazel answers"), elf(FAST)).outcome == "pass"


def test_without_a_record_the_files_are_read() -> None:
    found = check(None, elf(FAST, "zig 0.17.1 -O3"))
    assert found.outcome == "pass"
    assert found.detail.startswith("2 command lines in the files: 1 -O2, 1 -O3; names and NDEBUG are unknown")
    refused = check(None, elf(FAST, "zig 0.17.1 -mcpu=generic"))
    assert refused.outcome == "fail"
    assert "pkg/m.so: zig 0.17.1 -mcpu=generic" in refused.detail
    assert check(None, elf()).outcome == "not-applicable"


def test_grafts_and_wheels_of_others_are_not_judged_by_their_files() -> None:
    assert check(None, elf(FAST), elf(SLOW, member="m.libs/libx.so")).outcome == "pass"
    assert check(None, elf(SLOW), own=False).outcome == "not-applicable"


def test_a_recipe_names_exceptions_with_a_reason() -> None:
    audit = {"unoptimized": [{"unit": "x/*.c", "why": WHY}]}
    recipe = validate(Recipe, {**RECIPE, "audit": audit}, origin="demo.toml")
    [rule] = recipe.audit.unoptimized
    assert rule.covers("x/b.c")
    assert not rule.covers("y/b.c")
    with pytest.raises(ConfigError, match="why"):
        validate(Recipe, {**RECIPE, "audit": {"unoptimized": [{"unit": "x.c"}]}}, origin="demo.toml")
    wrong = {"unoptimized": [{"units": "x.c", "why": WHY}]}
    with pytest.raises(ConfigError, match="units"):
        validate(Recipe, {**RECIPE, "audit": wrong}, origin="demo.toml")
    with pytest.raises(ValidationError):
        UnoptimizedUnit(unit="x.c", why="")
