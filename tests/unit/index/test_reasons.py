"""Reasons of a refusal are bounded, wherever they come from."""

from __future__ import annotations

from index_server.errors import BadUploadError
from index_server.reasons import MAX_REASON, MAX_REASONS, Reasons


def test_few_stand_as_they_are() -> None:
    assert list(Reasons(["one", "two"])) == ["one", "two"]
    assert not Reasons()


def test_many_are_counted_and_only_the_first_are_kept() -> None:
    lines = list(Reasons(f"row {number}" for number in range(1_000_000)))
    assert len(lines) == MAX_REASONS
    assert lines[:2] == ["row 0", "row 1"]
    assert lines[-1] == f"and {1_000_000 - MAX_REASONS + 1} more"


def test_long_ones_are_cut() -> None:
    (line,) = Reasons(["a" * 1_000_000 + " is too long"])
    assert len(line) < MAX_REASON
    assert line.startswith("aaa")
    assert line.endswith("aaa is too long")


def test_the_count_survives_being_added_and_being_raised() -> None:
    many = Reasons(str(number) for number in range(200))
    both = Reasons(["form"])
    both += many
    assert next(iter(both)) == "form"
    assert list(both)[-1] == "and 152 more"
    assert list(BadUploadError(*both).reasons) == list(both)


def test_no_line_holds_what_utf8_cannot() -> None:
    (line,) = Reasons(["a\ud800b"])
    assert line.encode() == b"a\\ud800b"
