"""What is kept, by the rule's own words: a history is lived through day by day and compared with the rule."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from index_server.model import LeasedFile
from index_server.rules.leases import Lease
from index_server.rules.retention import FOREVER, Promise, RetentionState, Terms, stays, successor
from tests.helpers.records import make_record

DAYS = 3
TERMS = Terms({"nightly": DAYS, "stable": None})
START = date(2026, 11, 1)
SNAPSHOTS = [f"{START + timedelta(days=n):%Y%m%d}-1" for n in range(4)]
histories = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["nightly", "stable"]), st.integers(0, 3)), max_size=8
)
lease_spans = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12)), max_size=2)


def spell(day: int) -> str:
    return (START + timedelta(days=day)).isoformat()


def state(history: list[tuple[int, str, int]], spans: list[tuple[int, int, int]]) -> RetentionState:
    """The state as the journals tell it; leases have a snapshot, a first day and a last one."""
    moved = sorted((max(day, number), channel, number) for day, channel, number in history)
    found = [
        stay
        for name in ("nightly", "stable")
        for stay in stays(name, [(SNAPSHOTS[n], spell(day)) for day, channel, n in moved if channel == name])
    ]
    leases = [Lease("ci", (SNAPSHOTS[number],), (), spell(max(first, last))) for number, first, last in spans]
    return RetentionState(TERMS, found, leases)


def lived(
    history: list[tuple[int, str, int]], spans: list[tuple[int, int, int]], number: int, today: int
) -> bool:
    """Whether a snapshot must be there on ``today``, asked of every day before it."""
    moved = sorted((max(day, each), channel, each) for day, channel, each in history)
    shown: dict[str, int | None] = {"nightly": None, "stable": None}
    last_used = number  # the day it was made
    for day in range(40):
        touched = set()
        for _, channel, each in (move for move in moved if move[0] == day):
            before = shown[channel]
            touched |= {before, each}
            shown[channel] = each
            if channel == "stable" and each == number:
                return True
        if number in touched or shown["nightly"] == number:
            last_used = max(last_used, day)
        if any(each == number and day == max(first, last) for each, first, last in spans):
            last_used = max(last_used, day)
    return shown["nightly"] == number or last_used + DAYS >= today


@given(histories, lease_spans, st.integers(0, 3), st.integers(13, 30))
def test_the_rule_is_what_a_life_day_by_day_gives(
    history: list[tuple[int, str, int]], spans: list[tuple[int, int, int]], number: int, today: int
) -> None:
    kept = state(history, spans).kept(SNAPSHOTS[number], spell(today))
    assert kept == lived(history, spans, number, today)


@given(histories, st.tuples(st.integers(12, 20), st.sampled_from(["nightly", "stable"]), st.integers(0, 3)))
def test_a_move_never_shortens_a_promise(
    history: list[tuple[int, str, int]], move: tuple[int, str, int]
) -> None:
    before, after = state(history, []), state([*history, move], [])
    for snapshot in SNAPSHOTS:
        assert after.until(snapshot) >= before.until(snapshot)


def test_a_clock_that_was_set_back_shortens_no_promise() -> None:
    first, second, third, fourth = SNAPSHOTS
    moves = [(first, spell(0)), (second, "2000-01-01")]
    here = RetentionState(TERMS, stays("nightly", moves))
    assert here.until(first) == spell(DAYS)  # as its page promised before the move
    assert here.kept(first, "2999-01-01")  # nobody knows yet when it left
    moves += [(third, "2000-01-02"), (fourth, spell(9))]
    here = RetentionState(TERMS, stays("nightly", moves))
    assert here.until(first) == here.until(third) == spell(9 + DAYS)
    assert here.kept(first, spell(9 + DAYS))
    assert not here.kept(first, spell(9 + DAYS + 1))


def test_a_clock_that_was_set_ahead_keeps_what_it_showed_alone() -> None:
    first, second, third, _ = SNAPSHOTS
    here = RetentionState(
        TERMS, stays("nightly", [(first, "2099-01-01"), (second, spell(5)), (third, spell(8))])
    )
    assert here.kept(first, spell(2000))
    assert here.until(second) == spell(8 + DAYS)


def test_what_is_promised_of_a_snapshot() -> None:
    first, second, third, fourth = SNAPSHOTS
    moves = [(first, spell(0)), (second, spell(5)), (third, spell(8))]
    here = RetentionState(TERMS, [*stays("nightly", moves), *stays("stable", [(second, spell(6))])])
    assert here.until(first) == spell(5 + DAYS)
    assert here.until(second) == FOREVER
    assert here.until(third) == spell(8 + DAYS)
    assert here.until(fourth) == spell(3 + DAYS)  # no channel ever showed it
    assert here.kept(third, "2999-01-01")  # nightly shows it
    assert not here.kept(first, spell(5 + DAYS + 1))


def test_leases_hold_files_for_ever_and_then_some_days() -> None:
    file = LeasedFile(project="demo", filename="demo-1.0-py3-none-any.whl", sha256="a" * 64)
    key = (file.sha256, file.filename)
    assert RetentionState(TERMS, (), [Lease("ci", (), (file,), None)]).leased() == {key: FOREVER}
    ended = Lease("ci", (), (file,), "2026-11-05T10:00:00.000000Z")
    assert RetentionState(TERMS, (), [ended]).leased() == {key: "2026-11-08"}


def test_what_no_channel_holds_stays_for_the_longest_retention_and_a_day_at_least() -> None:
    assert Terms({"nightly": 30, "stable": None}).grace == 30
    assert Terms({"stable": None}).grace is None
    assert Terms({"nightly": 0}).grace == 1


def test_a_page_has_one_date_and_its_exceptions() -> None:
    promise = Promise("2026-12-01", (("b.whl", FOREVER),))
    assert promise.untils(["a.whl", "b.whl"]) == {"a.whl": "2026-12-01", "b.whl": FOREVER}


def test_a_successor_is_of_the_same_cell_if_there_is_one() -> None:
    gone = make_record(digest="a" * 64)
    newer = make_record(digest="b" * 64, at="2026-12-01T00:00:00.000000Z")
    later = make_record(version="2.0", digest="c" * 64)
    others = [
        make_record(target="generic", version="3.0"),
        make_record(python="cp312", version="3.0"),
        make_record(target=None, version="3.0"),
        make_record(project="other", version="3.0"),
    ]
    assert successor(gone, [gone, later, newer, *others]) == newer
    assert successor(gone, [gone, later, *others]) == later
    assert successor(gone, [gone, *others]) is None
    pure = make_record(target=None, platform="any")
    assert successor(pure, [pure, *others]) is None
    assert successor(pure, [make_record(target=None, platform="any", version="1.1"), *others]) is not None
