"""The day before the last promise about a file ends, the leases that use it are named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from index_server.catalog import leasing
from index_server.catalog.catalog import Catalog
from index_server.model import sha256_hex
from index_server.rules.retention import Terms
from index_server.upkeep.ending import ending
from tests.helpers.records import make_record
from tests.helpers.stores import MemoryStore

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TERMS = Terms({"nightly": 90, "stable": None})


class House:
    """An index whose nightly has moved on from a snapshot with one file."""

    def __init__(self) -> None:
        self.clock = START
        self.catalog = Catalog(MemoryStore(), {"nightly": "", "stable": ""}, lambda: self.clock)
        self.old = self.move(1)
        self.file = self.record.filename

    def move(self, number: int) -> str:
        session = f"s{number:021}"
        record = make_record(digest=f"{number:08x}" + "0" * 56)
        data = record.filename.encode()
        self.record = record.model_copy(update={"sha256": sha256_hex(data)})
        self.catalog.record_file(self.record, b"m", data, session)
        made = self.catalog.make_snapshot(session, session, "nightly")
        serial = number - 1
        self.catalog.move("nightly", snapshot_id=made.id, expected_serial=serial, nonce=session, by="x")
        return made.id

    def lease(self, name: str, *, snapshots: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> None:
        leasing.take(self.catalog, name, snapshots=snapshots, filenames=files, message="release 7", by="anna")

    def named(self, days: int = 1) -> list[tuple[str, str, str]]:
        return [(each.until, each.lease, each.filename) for each in ending(self.catalog, TERMS, days=days)]


def test_what_a_channel_shows_does_not_end() -> None:
    house = House()
    house.lease("ours", files=(house.file,))
    house.clock += timedelta(days=400)
    assert house.named(days=4000) == []


def test_a_lease_is_named_the_day_before_and_not_sooner_or_later() -> None:
    house = House()
    house.lease("ours", files=(house.file,))
    house.lease("by-snapshot", snapshots=(house.old,))
    house.clock += timedelta(days=10)
    house.move(2)  # nightly leaves the snapshot on 11 March
    until = "2026-06-09"
    both = [(until, "by-snapshot", house.file), (until, "ours", house.file)]
    for day, expected in ((88, []), (89, both), (90, both), (91, [])):
        house.clock = START + timedelta(days=10 + day)
        assert house.named() == expected, day
    house.clock = START + timedelta(days=12)
    assert house.named(days=88) == both
    [first, _] = ending(house.catalog, TERMS, days=88)
    assert (first.taken_by, first.message, first.project) == ("anna", "release 7", "demo")


def test_a_lease_that_ended_is_not_named() -> None:
    house = House()
    house.lease("ours", files=(house.file,))
    house.clock += timedelta(days=10)
    house.move(2)
    house.catalog.leases.end("ours", at="2026-03-12T00:00:00Z", by="anna")
    house.clock = START + timedelta(days=99)
    assert house.named() == []


def test_a_file_that_another_channel_keeps_is_not_named() -> None:
    house = House()
    house.lease("ours", files=(house.file,))
    house.catalog.move("stable", snapshot_id=house.old, expected_serial=0, nonce="n", by="x")
    house.clock += timedelta(days=10)
    house.move(2)
    house.clock = START + timedelta(days=99)
    assert house.named() == []
