"""The table of system instructions: it covers its part of the encoding space, and its features are Linux's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.model.system_space import ANY, EL1, IMPLEMENTATION, SYSTEM, SYSTEM_VALUE, UNALLOCATED
from builder.targets import NOT_IN_CODE

NAMES_OF_LINUX = NOT_IN_CODE | {
    "flagm", "flagm2", "fpmr", "gcs", "mte", "poe", "rng", "sb", "sme", "tme", "wfxt", "xs",
}  # fmt: skip


@given(st.integers(0, 2**22 - 1))
def test_every_system_instruction_has_a_row(low: int) -> None:
    word = SYSTEM_VALUE | low
    assert any(word & row.mask == row.value for row in SYSTEM)


def test_each_row_is_reached() -> None:
    for index, row in enumerate(SYSTEM):
        assert row.value & row.mask == row.value
        assert not any(before.mask & row.mask == before.mask and row.value & before.mask == before.value
                       for before in SYSTEM[:index]), row  # fmt: skip


def test_features_have_names_of_linux() -> None:
    assert {row.feature for row in SYSTEM} <= NAMES_OF_LINUX | {ANY, EL1, IMPLEMENTATION, UNALLOCATED}
