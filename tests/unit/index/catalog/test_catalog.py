"""The catalog's rules, one by one, over every kind of store."""

from __future__ import annotations

import itertools
import resource
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from index_server.catalog.catalog import Catalog, cell
from index_server.catalog.journal import journal_key
from index_server.catalog.recording import CheckedFile, record_key
from index_server.errors import ConflictError, NotFoundError, StoreError
from index_server.model import GENESIS, DevelopmentRule, Record, sha256_hex
from index_server.store.folder import DirectoryStore
from index_server.store.interface import ObjectStore
from index_server.upkeep import check
from tests.helpers.records import make_record
from tests.helpers.stores import DyingStore, KilledError

CHANNELS = {"nightly": "", "stable": ""}
A, B, C = "session-a" + "0" * 20, "session-b" + "0" * 20, "session-c" + "0" * 20


class Clock:
    """Ten minutes to midnight, and one second more at each call."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 23, 50, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(store: ObjectStore, clock: Clock) -> Catalog:
    return Catalog(store, CHANNELS, clock)


def put(catalog: Catalog, record: Record, session: str = A, data: bytes = b"") -> Record:
    content = data or record.filename.encode()
    record = record.model_copy(
        update={"sha256": sha256_hex(content), "size": len(content), "metadata_sha256": sha256_hex(b"m")}
    )
    with catalog.store.scratch() as path:
        Path(path).write_bytes(content)
        return catalog.record_file(record, b"m", path, session)


def publish(catalog: Catalog, session: str, key: str = "key") -> str:
    answer = catalog.make_snapshot(session, key, "nightly")
    head = catalog.head("nightly")
    catalog.move(
        "nightly",
        snapshot_id=answer.id,
        expected_serial=head.serial if head else 0,
        nonce=f"{session}{key}",
        by="tests",
    )
    return answer.id


def faults(catalog: Catalog) -> list[str]:
    found = [fault for name in CHANNELS for fault in check.journal_faults(catalog, name)]
    seen: dict[str, Record] = {}
    for snapshot_id in catalog.snapshot_ids():
        found += check.snapshot_faults(catalog, snapshot_id, seen)
    for record in seen.values():
        found += check.record_faults(catalog, record, deep=True)
    return found


def test_a_name_never_means_other_bytes(catalog: Catalog) -> None:
    first = put(catalog, make_record())
    again = put(catalog, make_record(at="2027-01-01T00:00:00.000000Z"))
    assert again == first
    with pytest.raises(ConflictError, match="already exist") as caught:
        put(catalog, make_record(), data=b"other bytes")
    assert caught.value.members == {"sha256": first.sha256}
    assert catalog.find_build("3fa9c2d1" + "0" * 56) == first
    assert catalog.find_build("f" * 64) is None


def test_files_recorded_together_are_judged_one_by_one(catalog: Catalog) -> None:
    catalog.sessions.discard(B)
    one, other = make_record(), make_record(target="generic")
    with pytest.raises(ConflictError):
        put(catalog, make_record(digest="d" * 64), B)
    asked = [(one, b"1", A), (one, b"2", A), (one, b"1", C), (other, b"3", B), (other, b"4", A)]
    files = [
        CheckedFile(record.model_copy(update={"sha256": sha256_hex(data)}), b"m", data, session)
        for record, data, session in asked
    ]
    outcomes = catalog.recorder.record(files)
    refused = [str(each) if isinstance(each, ConflictError) else "" for each in outcomes]
    assert [bool(each) for each in refused] == [False, True, False, True, False]
    assert "other bytes" in refused[1]
    assert "discarded" in refused[3]
    assert [each for each in outcomes if isinstance(each, Record)] == [
        files[0].record,
        files[0].record,
        files[4].record,
    ]
    held = [{file.filename for file in catalog.sessions.files(session)} for session in (A, B, C)]
    assert held == [{one.filename, other.filename}, set(), {one.filename}]
    for file in (files[0], files[4]):
        assert catalog.store.get(catalog.stored_key(*file.file)) == file.content
    assert catalog.recorder.record([]) == []


def test_sessions_hold_uploads_and_adopted_files(catalog: Catalog) -> None:
    record = put(catalog, make_record(), A)
    assert [file.filename for file in catalog.sessions.files(A)] == [record.filename]
    assert catalog.sessions.files(B) == []
    catalog.adopt(B, record.filename, record.project)
    assert catalog.session_records(B) == [record]
    with pytest.raises(NotFoundError, match="the index has no file"):
        catalog.adopt(B, "none-1-py3-none-any.whl", "none")


def test_a_new_build_of_a_cell_takes_the_older_ones_place(catalog: Catalog) -> None:
    old = put(catalog, make_record(digest="a" * 64))
    kept = put(catalog, make_record(target="generic"))
    pure = put(catalog, make_record(target=None))
    first = publish(catalog, A)
    new = put(catalog, make_record(digest="b" * 64), B)
    answer = catalog.make_snapshot(B, "key", "nightly")
    assert (answer.parent, answer.added, answer.replaced) == (first, (new.filename,), (old.filename,))
    assert cell(old) == cell(new) != cell(kept)
    snapshot = catalog.find_snapshot(answer.id)
    assert {each.filename for each in catalog.snapshot_records(snapshot)} == {
        each.filename for each in (kept, new, pure)
    }
    assert {each.filename for each in catalog.snapshot_records(catalog.find_snapshot(first))} == {
        each.filename for each in (kept, old, pure)
    }


def test_old_nights_leave_the_channel_and_stay_in_their_snapshots(store: ObjectStore, clock: Clock) -> None:
    catalog = Catalog(store, CHANNELS, clock, {"nightly": DevelopmentRule(versions=2)})
    nights = [make_record(version=f"2.0.dev2026112{day}", at=f"2026-11-2{day}T03:00:00Z") for day in range(4)]
    sessions = [letter * 22 for letter in "cdef"]
    for night, session in zip(nights[:3], sessions, strict=False):
        put(catalog, night, session)
    ids = [publish(catalog, session) for session in sessions[:3]]
    put(catalog, nights[3], sessions[3])
    answer = catalog.make_snapshot(sessions[3], "key", "nightly")
    assert (answer.added, answer.dropped) == ((nights[3].filename,), (nights[1].filename,))
    assert answer.files == 2
    earlier = catalog.snapshot_records(catalog.find_snapshot(ids[1]))
    assert [record.filename for record in earlier] == [night.filename for night in nights[:2]]
    # The rule is part of the stored request: another rule gives a repeated request the same answer.
    again = Catalog(store, CHANNELS, clock).make_snapshot(sessions[3], "key", "nightly")
    assert again == answer


def test_a_night_older_than_the_rule_makes_no_snapshot(store: ObjectStore, clock: Clock) -> None:
    catalog = Catalog(store, CHANNELS, clock, {"nightly": DevelopmentRule(versions=1)})
    put(catalog, make_record(version="2.0.dev2"), A)
    first = publish(catalog, A)
    late = put(catalog, make_record(version="2.0.dev1"), B)
    answer = catalog.make_snapshot(B, "key", "nightly")
    assert (answer.id, answer.created, answer.files, answer.dropped) == (first, False, 1, (late.filename,))


def test_a_snapshot_of_many_projects_opens_few_files(tmp_path: Path, clock: Clock) -> None:
    catalog = Catalog(DirectoryStore(tmp_path / "store"), CHANNELS, clock)
    for number in range(200):
        put(catalog, make_record(project=f"project-{number}", target=None))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 100, hard))
    try:
        answer = catalog.make_snapshot(A, "key", "nightly")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert answer.files == 200


def test_of_two_builds_in_a_session_the_later_one_counts(catalog: Catalog) -> None:
    put(catalog, make_record(digest="b" * 64))
    later = put(catalog, make_record(digest="a" * 64))
    answer = catalog.make_snapshot(A, "key", "nightly")
    assert answer.added == (later.filename,)


def test_a_night_without_news_makes_no_snapshot(catalog: Catalog) -> None:
    record = put(catalog, make_record())
    first = publish(catalog, A)
    catalog.adopt(B, record.filename, record.project)
    answer = catalog.make_snapshot(B, "key", "nightly")
    assert (answer.id, answer.created, answer.parent, answer.files) == (first, False, first, 1)
    assert catalog.snapshot_ids() == [first]


def test_the_same_key_gives_the_same_answer(catalog: Catalog, clock: Clock) -> None:
    put(catalog, make_record())
    first = catalog.make_snapshot(A, "key", "nightly")
    assert first.id == "20261123-1"
    put(catalog, make_record(version="2.0"))
    clock.time += timedelta(hours=1)
    assert catalog.make_snapshot(A, "key", "nightly") == first
    second = catalog.make_snapshot(A, "other key", "nightly")
    assert second.id == "20261124-1"
    with pytest.raises(ConflictError, match="channel nightly"):
        catalog.make_snapshot(A, "key", "stable")


def test_ids_count_up_and_sort_by_number(catalog: Catalog) -> None:
    ids = []
    for number in range(11):
        put(catalog, make_record(version=f"{number}.0"))
        ids.append(catalog.make_snapshot(A, f"key {number}", "nightly").id)
    assert ids == [f"20261123-{number}" for number in range(1, 12)]
    assert catalog.snapshot_ids() == ids


def test_an_empty_session_makes_nothing(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="the session has no files"):
        catalog.make_snapshot(A, "key", "nightly")
    with pytest.raises(NotFoundError, match="no channel"):
        catalog.make_snapshot(A, "key", "weekly")


@pytest.mark.parametrize("name", ["20261123-9", "../journal", "20261123-01", "", "x" * 300])
def test_there_is_no_such_snapshot(catalog: Catalog, name: str) -> None:
    with pytest.raises(NotFoundError):
        catalog.find_snapshot(name)


def test_moves_are_chained(catalog: Catalog) -> None:
    for number in range(3):
        put(catalog, make_record(version=f"{number}.0"))
        publish(catalog, A, f"key {number}")
    moves = catalog.moves("nightly")
    assert [move.serial for move in moves] == [1, 2, 3]
    assert moves[0].previous_hash == GENESIS
    for before, after in itertools.pairwise(moves):
        key = journal_key("nightly", before.serial)
        assert after.previous_hash == sha256_hex(catalog.store.get(key))
    assert catalog.head("stable") is None
    assert faults(catalog) == []


def test_who_expects_another_head_is_told(catalog: Catalog) -> None:
    put(catalog, make_record())
    first = publish(catalog, A)
    put(catalog, make_record(version="2.0"))
    second = catalog.make_snapshot(A, "second", "nightly").id
    with pytest.raises(ConflictError, match="at serial 1, not 0") as caught:
        catalog.move("nightly", snapshot_id=second, expected_serial=0, nonce="n", by="x")
    assert caught.value.members == {"serial": 1, "snapshot": first}
    head, moved = catalog.move("nightly", snapshot_id=first, expected_serial=7, nonce="n", by="x")
    assert (head.serial, moved) == (1, False)
    with pytest.raises(NotFoundError):
        catalog.move("nightly", snapshot_id="20200101-1", expected_serial=1, nonce="n", by="x")


def test_a_lost_answer_is_given_again(catalog: Catalog) -> None:
    put(catalog, make_record())
    first = publish(catalog, A, "first")
    put(catalog, make_record(version="2.0"))
    second = publish(catalog, A, "second")
    nonce = f"{A}first"
    entry, moved = catalog.move("nightly", snapshot_id=first, expected_serial=0, nonce=nonce, by="x")
    assert (entry.serial, moved) == (1, True)
    assert len(catalog.moves("nightly")) == 2
    with pytest.raises(ConflictError, match="this nonce was used for"):
        catalog.move("nightly", snapshot_id=second, expected_serial=2, nonce=nonce, by="x")


def two_snapshots(catalog: Catalog) -> list[str]:
    ids = []
    for number in range(2):
        put(catalog, make_record(version=f"{number}.0"))
        ids.append(catalog.make_snapshot(A, f"key {number}", "nightly").id)
    return ids


def test_of_two_promoters_in_one_moment_one_wins(store: ObjectStore) -> None:
    racing = DyingStore(store)
    catalog, rival = Catalog(racing, CHANNELS), Catalog(store, CHANNELS)
    mine, other = two_snapshots(catalog)
    racing.rival_prefix = "journal/"
    racing.rival = lambda: rival.move("nightly", snapshot_id=other, expected_serial=0, nonce="b", by="b")
    with pytest.raises(ConflictError, match="at serial 1, not 0"):
        catalog.move("nightly", snapshot_id=mine, expected_serial=0, nonce="a", by="a")
    assert [move.snapshot for move in catalog.moves("nightly")] == [other]


def test_of_many_promoters_one_wins(store: ObjectStore) -> None:
    catalog = Catalog(store, CHANNELS)
    first, second = two_snapshots(catalog)

    def promote(number: int) -> bool:
        snapshot = (first, second)[number % 2]
        try:
            _, moved = Catalog(store, CHANNELS).move(
                "nightly", snapshot_id=snapshot, expected_serial=0, nonce=f"n{number}", by="x"
            )
        except ConflictError:
            return False
        return moved

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(promote, range(8))).count(True) == 1
    assert len(catalog.moves("nightly")) == 1
    assert faults(catalog) == []


def test_one_request_asked_twice_in_one_moment(store: ObjectStore) -> None:
    racing = DyingStore(store)
    catalog, rival = Catalog(racing, CHANNELS), Catalog(store, CHANNELS)
    put(catalog, make_record())
    answers = []

    def ask() -> None:
        put(rival, make_record(version="2.0"))
        answers.append(rival.make_snapshot(A, "key", "nightly"))

    racing.rival_prefix, racing.rival = f"sessions/{A}/requests/", ask
    assert catalog.make_snapshot(A, "key", "nightly") == answers[0]
    assert len(catalog.snapshot_ids()) == 1


def test_another_server_sees_a_publication(catalog: Catalog) -> None:
    other = Catalog(catalog.store, CHANNELS)
    assert other.head("nightly") is None
    put(catalog, make_record())
    first = publish(catalog, A)
    head = other.head("nightly")
    assert head is not None
    assert head.snapshot == first


@pytest.mark.parametrize("hint", [b'{"serial": 99}', b'{"serial": 1}', b"torn"])
def test_a_wrong_hint_costs_time_alone(catalog: Catalog, hint: bytes) -> None:
    for number in range(3):
        put(catalog, make_record(version=f"{number}.0"))
        publish(catalog, A, f"key {number}")
    catalog.store.put_hint("channels/nightly.json", hint)
    head = Catalog(catalog.store, CHANNELS).head("nightly")
    assert head is not None
    assert head.serial == 3


def test_evidence_is_kept_and_the_newest_counts(catalog: Catalog) -> None:
    sha = put(catalog, make_record()).sha256
    assert catalog.evidence.find(sha, "audit") is None
    for body, count in (({"v": 1}, 1), ({"v": 1}, 1), ({"v": 2}, 2), ({"v": 1}, 3)):
        catalog.evidence.add(sha, "audit", body, "tests")
        found = catalog.evidence.find(sha, "audit")
        assert found is not None
        assert found.body == body
        assert len(list(catalog.store.keys(f"evidence/{sha}/audit/"))) == count
    catalog.evidence.add(sha, "verify", [], "tests")
    assert catalog.evidence.kinds(sha) == ["audit", "verify"]
    with pytest.raises(NotFoundError, match="upload it first"):
        catalog.evidence.add("f" * 64, "audit", {}, "tests")


KINDS = ("audit", "emulation")


def test_verdicts_say_what_the_newest_evidence_says(catalog: Catalog) -> None:
    good, bad = put(catalog, make_record()), put(catalog, make_record(project="other"))
    files = {record.sha256: record.project for record in (good, bad)}
    assert catalog.evidence.verdicts(files, KINDS) == {good.sha256: {}, bad.sha256: {}}
    for record, body in ((good, {"passed": True}), (bad, {"passed": True}), (bad, {"passed": False})):
        catalog.evidence.add(record.sha256, "audit", body, "tests")
    catalog.evidence.add(good.sha256, "emulation", {"passed": True, "sha256": bad.sha256}, "tests")
    catalog.evidence.add(good.sha256, "benchmark", {"passed": True}, "tests")
    expected = {good.sha256: {"audit": (1, True), "emulation": (1, False)}, bad.sha256: {"audit": (2, False)}}
    assert catalog.evidence.verdicts(files, KINDS) == expected
    assert catalog.evidence.verdicts({bad.sha256: "other"}, ["audit"]) == {bad.sha256: {"audit": (2, False)}}
    for number in range(3, 12):  # numbers are compared as numbers
        catalog.evidence.add(bad.sha256, "audit", {"passed": True, "try": number}, "tests")
    assert catalog.evidence.verdicts(files, KINDS)[bad.sha256] == {"audit": (11, True)}
    assert list(check.verdict_faults(catalog)) == []


def test_a_verdict_that_a_crash_left_out_is_reckoned_again(catalog: Catalog) -> None:
    sha = put(catalog, make_record()).sha256
    for retry in (False, True):
        dying = DyingStore(catalog.store)
        dying.fuse = 1  # the evidence is written, its verdict is not
        body = {"passed": True, "retry": retry}
        with pytest.raises(KilledError):
            Catalog(dying, CHANNELS).evidence.add(sha, "audit", body, "tests")
        verdicts = list(catalog.store.keys("verdicts/"))
        if retry:
            catalog.evidence.add(sha, "audit", body, "tests")
        expected = {sha: {"audit": (1 + retry, True)}}
        assert catalog.evidence.verdicts({sha: "demo"}, KINDS) == expected
        assert len(list(catalog.store.keys("verdicts/"))) == len(verdicts) + 1
        assert len(list(catalog.store.keys("evidence/"))) == 1 + retry


def test_check_finds_a_verdict_that_lies(catalog: Catalog) -> None:
    sha = put(catalog, make_record()).sha256
    catalog.evidence.add(sha, "audit", {"passed": False}, "tests")
    catalog.store.create(f"verdicts/demo/{sha}.audit.1.passed", b"")
    catalog.store.create(f"verdicts/demo/{sha}.audit.7.passed", b"")
    found = list(check.verdict_faults(catalog))
    assert len(found) == 2
    assert "contradicts the evidence" in found[0]


def test_check_finds_what_was_changed(catalog: Catalog) -> None:
    record = put(catalog, make_record())
    put(catalog, make_record(target="generic"))
    publish(catalog, A, "first")
    put(catalog, make_record(version="2.0"))
    publish(catalog, A, "second")
    store = catalog.store
    assert faults(catalog) == []
    entry = store.get(journal_key("nightly", 1))
    store.put_hint(journal_key("nightly", 1), entry.replace(b'"by":"tests"', b'"by":"wrong"'))
    store.put_hint(f"files/{record.sha256}/{record.filename}", b"x" * record.size)
    store.put_hint(f"files/{record.sha256}/{record.filename}.metadata", b"x")
    store.put_hint(record_key(record.project, record.filename), b"{}")
    found = "\n".join(faults(Catalog(store, CHANNELS)))
    for fault in ("journal was rewritten", "its bytes have changed", ".metadata: its bytes", "damaged"):
        assert fault in found


def test_damage_is_an_error_not_an_absence(catalog: Catalog) -> None:
    catalog.store.create("journal/nightly/1.json", b"torn")
    with pytest.raises(StoreError, match="damaged"):
        catalog.head("nightly")
