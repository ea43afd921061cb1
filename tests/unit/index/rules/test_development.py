"""Which development versions a channel still lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from index_server.model import DevelopmentRule, Record
from index_server.rules.development import describe, listed_until, select
from tests.helpers.records import make_record

NIGHTS = [f"2.12.0.dev202611{day:02}" for day in range(1, 21)]


def night(version: str, **details: str) -> Record:
    day = version[-2:]
    return make_record(version=version, at=f"2026-11-{day}T03:00:00.000000Z", **details)


def versions(records: list[Record]) -> list[str]:
    return sorted({Version(record.version).public for record in records})


EVERY_NIGHT = [night(version) for version in NIGHTS]
rules = st.builds(
    DevelopmentRule,
    versions=st.none() | st.integers(1, 25),
    days=st.none() | st.integers(1, 25),
)


def test_without_a_rule_all_stay() -> None:
    assert select(EVERY_NIGHT, None, "2026-11-20") == EVERY_NIGHT


def test_the_newest_versions_stay_with_all_their_files() -> None:
    both = EVERY_NIGHT + [night(version, target="generic") for version in NIGHTS]
    kept = select(both, DevelopmentRule(versions=3), "2026-11-20")
    assert versions(kept) == NIGHTS[-3:]
    assert len(kept) == 6


def test_the_versions_of_the_last_days_stay() -> None:
    assert versions(select(EVERY_NIGHT, DevelopmentRule(days=5), "2026-11-20T23:59:59Z")) == NIGHTS[-6:]
    assert (
        versions(select(EVERY_NIGHT, DevelopmentRule(days=5), "2026-12-24")) == NIGHTS[-1:]
    )  # the newest stays


def test_either_rule_keeps_a_version() -> None:
    assert versions(select(EVERY_NIGHT, DevelopmentRule(versions=8, days=2), "2026-11-20")) == NIGHTS[-8:]
    assert versions(select(EVERY_NIGHT, DevelopmentRule(versions=1, days=2), "2026-11-20")) == NIGHTS[-3:]


def test_a_rebuild_of_an_old_night_counts_from_its_day() -> None:
    again = make_record(version=NIGHTS[0], digest="b" * 64, at="2026-11-20T09:00:00.000000Z")
    kept = versions(select([*EVERY_NIGHT, again], DevelopmentRule(days=2), "2026-11-20"))
    assert kept == [NIGHTS[0], *NIGHTS[-3:]]


def test_releases_and_candidates_stay() -> None:
    others = [make_record(version=version, at="2020-01-01T00:00:00.000000Z") for version in ("1.0", "2.0rc1")]
    kept = select([*others, *EVERY_NIGHT], DevelopmentRule(versions=1), "2026-11-20")
    assert versions(kept) == ["1.0", "2.0rc1", NIGHTS[-1]]


def test_the_day_is_announced_and_kept() -> None:
    rule = DevelopmentRule(versions=2, days=5)
    announced = listed_until([*EVERY_NIGHT, make_record(version="1.0")], rule)
    assert announced.keys() == {record.filename for record in EVERY_NIGHT}
    first = EVERY_NIGHT[0].filename
    assert announced[first] == "2026-11-06"
    assert first in {record.filename for record in select(EVERY_NIGHT, rule, announced[first])}
    assert first not in {record.filename for record in select(EVERY_NIGHT, rule, "2026-11-07")}
    assert listed_until(EVERY_NIGHT, DevelopmentRule(versions=2)) == {}


@given(st.sets(st.sampled_from(EVERY_NIGHT)), rules, st.integers(1, 28))
def test_selecting_again_changes_nothing(records: set[Record], rule: DevelopmentRule, day: int) -> None:
    listed = sorted(records, key=lambda record: record.filename)
    kept = select(listed, rule, f"2026-11-{day:02}")
    assert select(kept, rule, f"2026-11-{day:02}") == kept
    assert bool(kept) == bool(listed)
    if kept:
        assert versions(kept)[-1] == versions(listed)[-1]


def test_the_rule_in_words() -> None:
    assert describe(DevelopmentRule(versions=14, days=30)) == (
        "Of the development versions of a project, this channel lists the newest 14 and those of the last 30 days."
    )
    assert "the newest one." in describe(DevelopmentRule(versions=1))
