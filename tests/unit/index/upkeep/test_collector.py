"""The collector: what goes, what stays, and that nothing anybody does meanwhile, or a kill, changes that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from index_server.catalog.catalog import Catalog
from index_server.catalog.leasing import take
from index_server.errors import ConflictError, GoneError, RequestError
from index_server.model import DevelopmentRule, Record, sha256_hex, stamp
from index_server.rules.retention import Terms
from index_server.store.interface import ObjectStore
from index_server.upkeep import check
from index_server.upkeep.collector import Collector, Report
from tests.helpers.records import make_record
from tests.helpers.steps import Paused, StepStore, at, at_write, die
from tests.helpers.stores import KilledError, MemoryStore

CHANNELS = {"nightly": "", "stable": ""}
TERMS = Terms({"nightly": 3, "stable": None})
FIRST = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATE = datetime(2030, 1, 1, 12, tzinfo=UTC)  # long after the days of everything here, real ones too
OLD = make_record(digest="a" * 64)
NEW = make_record(digest="b" * 64)
SHARED = make_record(project="shared")
LOST = make_record(project="lost")


def data_of(record: Record) -> bytes:
    return f"bytes of {record.filename}".encode()


def whole(record: Record) -> Record:
    data = data_of(record)
    return record.model_copy(
        update={"sha256": sha256_hex(data), "size": len(data), "metadata_sha256": sha256_hex(b"m")}
    )


def at_time(store: ObjectStore, moment: datetime = LATE) -> Catalog:
    return Catalog(store, CHANNELS, lambda: moment)


def put(catalog: Catalog, record: Record, session: str) -> Record:
    with catalog.store.scratch() as path:
        Path(path).write_bytes(data_of(record))
        return catalog.record_file(whole(record), b"m", path, session)


def publish(catalog: Catalog, session: str) -> str:
    snapshot = catalog.make_snapshot(session, "key", "nightly").id
    return promote(catalog, snapshot, "nightly")


def promote(catalog: Catalog, snapshot: str, channel: str = "stable") -> str:
    head = catalog.head(channel)
    serial = head.serial if head else 0
    nonce = f"{channel}{serial}{snapshot}"
    catalog.move(channel, snapshot_id=snapshot, expected_serial=serial, nonce=nonce, by="tests")
    return snapshot


def two_nights(store: ObjectStore) -> tuple[str, str]:
    """A snapshot that nightly left long ago, and the one that it shows; one file that joined no snapshot."""
    first, second = at_time(store, FIRST), at_time(store, FIRST + timedelta(days=1))
    put(first, OLD, "a" * 22)
    put(first, SHARED, "a" * 22)
    before = publish(first, "a" * 22)
    put(second, NEW, "b" * 22)
    after = publish(second, "b" * 22)
    put(second, LOST, "c" * 22)
    return before, after


def collect(store: ObjectStore, *, dry_run: bool = False) -> Report:
    report = Collector(at_time(store), TERMS).run(dry_run=dry_run)
    assert report.missing == []
    return report


def there(store: ObjectStore) -> set[str]:
    """Names of the files that can be downloaded."""
    catalog = at_time(store)
    catalog.tombs.look()
    records = [whole(record) for record in (OLD, NEW, SHARED, LOST)]
    keys = {record.filename: catalog.stored_key(record.sha256, record.filename) for record in records}
    return {name for name, key in keys.items() if store.size(key) and store.size(f"{key}.metadata")}


def assert_sound(store: ObjectStore) -> None:
    """Nothing is wrong, and whatever stable ever named, and nightly shows, is there."""
    catalog = at_time(store)
    seen: dict[str, Record] = {}
    faults = [*check.collected_faults(catalog)]
    for name in CHANNELS:
        faults += check.journal_faults(catalog, name)
    for snapshot in catalog.snapshot_ids():
        faults += check.snapshot_faults(catalog, snapshot, seen)
    for record in seen.values():
        faults += check.record_faults(catalog, record, deep=True)
    assert faults == []
    night = catalog.head("nightly")
    named = {move.snapshot for move in catalog.moves("stable")} | ({night.snapshot} if night else set())
    for snapshot in named:
        for record in catalog.snapshot_records(catalog.find_snapshot(snapshot)):
            assert record.filename in there(store), f"{snapshot} lacks {record.filename}"


def night_store() -> tuple[MemoryStore, str]:
    store = MemoryStore()
    return store, two_nights(store)[0]


def test_what_no_promise_covers_goes(store: ObjectStore) -> None:
    two_nights(store)
    all_names = {record.filename for record in (OLD, NEW, SHARED, LOST)}
    assert set(collect(store, dry_run=True).collected) == {OLD.filename, LOST.filename}
    assert there(store) == all_names
    report = collect(store)
    assert set(report.collected) == {OLD.filename, LOST.filename}
    assert report.bytes_freed == len(data_of(OLD)) + len(data_of(LOST))
    assert (report.snapshots, report.reachable, report.spared) == (1, 2, [])
    assert there(store) == {NEW.filename, SHARED.filename}
    assert_sound(store)
    again = collect(store)
    assert (again.collected, again.stored) == ([], 2)


def test_young_files_stay() -> None:
    store, _ = night_store()
    report = Collector(at_time(store, FIRST + timedelta(days=4)), TERMS).run()
    assert report.collected == []


def test_a_night_that_the_channel_no_longer_lists_is_collected_when_no_promise_covers_it(
    store: ObjectStore,
) -> None:
    nights = [make_record(version=f"2.0.dev{day}", digest=f"{day}" * 64) for day in (1, 2, 3)]
    for day, night in enumerate(nights):
        moment = FIRST + timedelta(days=day)
        catalog = Catalog(
            store, CHANNELS, lambda moment=moment: moment, {"nightly": DevelopmentRule(versions=2)}
        )
        put(catalog, night, f"{day}" * 22)
        publish(catalog, f"{day}" * 22)
    assert collect(store).collected == [nights[0].filename]  # the head names the other two
    assert collect(store).collected == []


def test_what_stable_or_a_lease_names_stays(store: ObjectStore) -> None:
    before, _ = two_nights(store)
    promote(at_time(store, FIRST + timedelta(days=2)), before)
    catalog = at_time(store)
    take(catalog, "ci", snapshots=(), filenames=(LOST.filename,), message="", by="x")
    report = collect(store)
    assert (report.collected, report.for_ever, report.leases) == ([], 1, 1)
    promote(at_time(store), catalog.moves("nightly")[-1].snapshot)  # stable leaves it, and it stays
    catalog.leases.end("ci", at=stamp(LATE), by="x")
    assert collect(store).collected == []
    later = Collector(at_time(store, LATE + timedelta(days=4)), TERMS).run()
    assert later.collected == [LOST.filename]


def test_a_collected_file_can_come_back_and_go_again(store: ObjectStore) -> None:
    before, _ = two_nights(store)
    collect(store)
    catalog = at_time(store)
    with pytest.raises(GoneError):
        catalog.adopt("d" * 22, OLD.filename, "demo")
    with pytest.raises(ConflictError, match="have been collected"):
        promote(catalog, before)
    with store.scratch() as path:
        path.write_bytes(b"other")
        other = OLD.model_copy(update={"sha256": sha256_hex(b"other")})
        with pytest.raises(ConflictError, match="other bytes"):
            catalog.record_file(other, b"m", path, "d" * 22)
    assert OLD.tuned is not None
    assert catalog.find_build(OLD.tuned.wheel_digest) is None
    put(catalog, OLD, "d" * 22)
    assert OLD.filename in there(store)
    assert catalog.find_build(OLD.tuned.wheel_digest) == whole(OLD)
    promote(catalog, before)
    assert collect(store).collected == []
    assert_sound(store)
    put(catalog, LOST, "d" * 22)
    assert LOST.filename in there(store)
    far = Collector(at_time(store, LATE + timedelta(days=9)), TERMS).run()
    assert far.collected == [LOST.filename]
    put(catalog, LOST, "e" * 22)
    assert LOST.filename in there(store)


@pytest.mark.parametrize("after", [False, True])
def test_while_a_file_that_a_new_snapshot_names_comes_back(*, after: bool) -> None:
    """It was gone when it was promised: no run between the writes of its upload may call it lost, or collected."""
    store, _ = night_store()
    collect(store)
    at_time(store).make_snapshot("a" * 22, "again", "nightly")
    reports: list[Report] = []
    steps = StepStore(store)
    hook = at_write(steps, "files/", lambda: reports.append(collect(store)))
    setattr(steps, "after" if after else "before", hook)
    put(at_time(steps), OLD, "d" * 22)
    assert [(report.collected, report.bytes_freed) for report in reports] == [([], 0)]
    assert OLD.filename in there(store)
    assert_sound(store)


def test_a_channel_that_is_no_longer_named_keeps_all_it_showed() -> None:
    store, before = night_store()
    promote(at_time(store), before)
    catalog = Catalog(store, {"nightly": ""}, lambda: LATE)
    report = Collector(catalog, Terms({"nightly": 3})).run()
    assert report.collected == [LOST.filename]


# What others do meanwhile: each makes an old file reachable again, or is told that it is gone


def promoting(store: ObjectStore, before: str) -> set[str]:
    """Names that must be there afterwards."""
    promote(at_time(store), before)
    return {OLD.filename, SHARED.filename}


def leasing(store: ObjectStore, before: str) -> set[str]:
    take(at_time(store), "ci", snapshots=(before,), filenames=(LOST.filename,), message="", by="x")
    return {OLD.filename, SHARED.filename, LOST.filename}


def adopting(store: ObjectStore, _: str) -> set[str]:
    at_time(store).adopt("d" * 22, LOST.filename, "lost")
    return {LOST.filename}


def uploading(store: ObjectStore, _: str) -> set[str]:
    put(at_time(store), LOST, "d" * 22)
    return {LOST.filename}


RIVALS = [promoting, leasing, adopting, uploading]
Rival = Callable[[ObjectStore, str], set[str]]


def calls_of(work: Callable[[StepStore], object]) -> int:
    """How often undisturbed work calls its store."""
    inner, _ = night_store()
    steps = StepStore(inner)
    work(steps)
    return steps.calls


def attempt(rival: Rival, store: ObjectStore, before: str) -> set[str]:
    """What the rival may rely on: all it was promised, or nothing if it was refused."""
    try:
        return rival(store, before)
    except RequestError:
        return set()


@pytest.mark.parametrize("rival", RIVALS)
def test_a_rival_between_any_two_calls_of_the_collector(rival: Rival) -> None:
    outcomes, spared = set(), 0
    for number in range(calls_of(collect)):
        store, before = night_store()
        relied: list[set[str]] = []
        steps = StepStore(store)

        def act(inner: ObjectStore = store, name: str = before, results: list[set[str]] = relied) -> None:
            results.append(attempt(rival, inner, name))

        steps.before = at(number, act)
        spared += len(collect(steps).spared)
        for _ in range(2):  # a second run must not take it either
            assert relied[0] <= there(store), f"call {number}"
            assert_sound(store)
            collect(store)
        outcomes.add(bool(relied[0]))
    assert True in outcomes
    assert False in outcomes or rival is uploading  # bytes at hand are always taken
    assert spared or rival not in (promoting, adopting)  # what they announced is seen


@pytest.mark.parametrize("rival", RIVALS)
def test_the_collector_between_any_two_calls_of_a_rival(rival: Rival) -> None:
    _, name = night_store()
    for number in range(calls_of(lambda store: rival(store, name))):
        store, before = night_store()
        steps = StepStore(store)

        def act(inner: ObjectStore = store) -> None:
            collect(inner)

        steps.before = at(number, act)
        relied = attempt(rival, steps, before)
        for _ in range(2):
            assert relied <= there(store), f"call {number}"
            assert_sound(store)
            collect(store)


@pytest.mark.slow
@pytest.mark.parametrize("rival", [promoting, uploading])
def test_both_paused_at_any_call_of_theirs(rival: Rival) -> None:
    """The collector stops at a call, the rival begins and stops too, the collector ends, then the rival."""
    _, name = night_store()
    rival_calls = calls_of(lambda store: rival(store, name))
    for number in range(0, calls_of(collect), 2):
        for rival_number in range(number % 4 // 2, rival_calls, 2):
            store, before = night_store()
            mine, theirs = StepStore(store), StepStore(store)
            collecting = Paused(mine, number, lambda inner=mine: collect(inner))
            other = Paused(theirs, rival_number, lambda inner=theirs, id_=before: attempt(rival, inner, id_))
            collecting.start()
            other.start()
            collecting.finish()
            relied = other.finish()
            assert isinstance(relied, set)
            assert relied <= there(store), f"calls {number} and {rival_number}"
            assert_sound(store)


def test_two_collectors_and_a_promotion() -> None:
    """One stops before it sweeps; another runs whole, then a promotion; then the first goes on."""
    for number in range(calls_of(collect)):
        store, before = night_store()
        slow = StepStore(store)
        collecting = Paused(slow, number, lambda inner=slow: Collector(at_time(inner), TERMS).run())
        collecting.start()
        relied = set()
        for _ in range(3):
            collect(store)
            relied |= attempt(promoting, store, before) | attempt(uploading, store, before)
        collecting.finish()
        assert relied <= there(store), f"call {number}"
        assert_sound(store)


@pytest.mark.parametrize("after", [False, True])
def test_a_collector_killed_at_any_call_is_made_good_by_the_next(*, after: bool) -> None:
    undisturbed, _ = night_store()
    collect(undisturbed)
    for number in range(calls_of(collect)):
        store, before = night_store()
        steps = StepStore(store)
        setattr(steps, "after" if after else "before", at(number, die))
        with pytest.raises(KilledError):
            collect(steps)
        assert {NEW.filename, SHARED.filename} <= there(store)
        assert_sound(store)
        killed = copy.deepcopy(store.objects)
        collect(store)
        assert there(store) == {NEW.filename, SHARED.filename}
        assert files(store.objects) == files(undisturbed.objects)
        # The same death, and then a promotion before the next run
        store.objects.clear()
        store.objects.update(killed)
        with suppress(ConflictError):
            promoting(store, before)
        collect(store)
        assert_sound(store)


def files(objects: dict[str, bytes]) -> set[str]:
    return {key for key in objects if key.startswith("files/")}
