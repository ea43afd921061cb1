"""Where a rollback leads."""

from __future__ import annotations

import pytest

from builder.commands.channels import back_from
from builder.errors import PublishError
from builder.index.client import MoveEntry


def moves(*snapshots: str) -> tuple[MoveEntry, ...]:
    return tuple(
        MoveEntry(
            serial=serial, snapshot=snapshot, at="2026-11-23T00:00:00Z", by="me", approvals=(), message=""
        )
        for serial, snapshot in enumerate(snapshots, start=1)
    )


@pytest.mark.parametrize(
    ("shown", "target"),
    [
        ("ab", "a"),
        ("abc", "b"),
        ("abcb", "a"),  # a second rollback goes further back, not forward to c
        ("abcbd", "c"),  # after a new snapshot, the one that first came before it
        ("aab", "a"),
    ],
)
def test_without_a_snapshot_it_is_the_one_that_first_came_before(shown: str, target: str) -> None:
    assert back_from("stable", moves(*shown), None) == target


def test_rolling_back_again_and_again_ends_at_the_first() -> None:
    shown = "abcd"
    while shown[-1] != "a":
        shown += back_from("stable", moves(*shown), None)
    assert shown == "abcdcba"
    with pytest.raises(PublishError, match="stable has shown nothing before"):
        back_from("stable", moves(*shown), None)


def test_a_named_snapshot_must_have_been_shown() -> None:
    assert back_from("stable", moves(*"abc"), "c") == "c"
    with pytest.raises(PublishError, match="`armwheels promote x --to stable`"):
        back_from("stable", moves(*"abc"), "x")


def test_a_channel_that_never_moved_has_nothing_to_go_back_to() -> None:
    with pytest.raises(PublishError, match="nothing before"):
        back_from("stable", (), None)
