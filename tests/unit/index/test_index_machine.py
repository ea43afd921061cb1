"""Publishers, readers and crashes against one model: old or new, never mixed."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionClosedError
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from index_records import make_record
from index_stores import DyingStore, KilledError, MemoryStore, moto_store, seaweed_store
from serve_s3 import Seaweed

from index_server import check
from index_server.catalog import Catalog, cell
from index_server.errors import ConflictError, NotFoundError
from index_server.model import Mark, Record, sha256_hex
from index_server.store import DirectoryStore, ObjectStore

CHANNELS = {"nightly": "", "stable": ""}
SESSIONS = [letter * 22 for letter in "abc"]
records = st.builds(
    make_record,
    project=st.sampled_from(["demo", "other"]),
    version=st.sampled_from(["1.0", "2.0"]),
    target=st.sampled_from([None, "generic", "neoverse-v1"]),
    digest=st.sampled_from(["a" * 64, "b" * 64]),
)
crashes = st.one_of(st.none(), st.tuples(st.integers(0, 6), st.booleans()))


class Index(RuleBasedStateMachine):
    """Two servers on one store. A call may be killed before or after any write; then it is asked again.

    The model is what was acknowledged. Whatever a killed call did or did not do, asking again must give what
    an undisturbed call would have given, and no reader may see anything but the model's old or new state.
    """

    snapshots = Bundle("snapshots")

    def make_inner(self) -> ObjectStore:
        return MemoryStore()

    def __init__(self) -> None:
        super().__init__()
        self.store = DyingStore(self.make_inner())
        self.catalogs = [Catalog(self.store, CHANNELS) for _ in range(2)]
        self.bytes: dict[str, str] = {}  # file name -> sha256
        self.made: dict[str, set[str]] = {}  # snapshot -> file names
        self.journal: dict[str, list[str]] = {name: [] for name in CHANNELS}
        self.nonces = 0
        self.marked: dict[tuple[str, bool], bool] = {}  # file name, whether by a yank -> whether it stands

    @rule(
        record=records,
        salt=st.booleans(),
        session=st.sampled_from(SESSIONS),
        crash=crashes,
        who=st.integers(0, 1),
    )
    def upload(
        self, record: Record, *, salt: bool, session: str, crash: tuple[int, bool] | None, who: int
    ) -> None:
        data = f"{record.filename} {salt}".encode()
        record = record.model_copy(
            update={"sha256": sha256_hex(data), "size": len(data), "metadata_sha256": sha256_hex(b"m")}
        )
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(data)
            known = self.bytes.setdefault(record.filename, record.sha256)
            for fuse in (crash, None):
                self.arm(fuse)
                with suppress(KilledError):
                    try:
                        self.catalogs[who].record_file(record, b"m", Path(file.name), session)
                        assert known == record.sha256
                    except ConflictError:
                        assert known != record.sha256

    @rule(
        target=snapshots,
        session=st.sampled_from(SESSIONS),
        key=st.sampled_from(["one", "two", "three"]),
        channel=st.sampled_from(list(CHANNELS)),
        crash=crashes,
        who=st.integers(0, 1),
    )
    def snapshot(
        self, session: str, key: str, channel: str, crash: tuple[int, bool] | None, who: int
    ) -> str | None:
        answers = []
        for fuse in (crash, None):
            self.arm(fuse)
            with suppress(KilledError):
                try:
                    answers.append(self.catalogs[who].make_snapshot(session, key, channel))
                except NotFoundError:
                    assert not self.catalogs[who].session_files(session)
                    return None
                except ConflictError:  # the key was used for the other channel
                    return None
        assert all(answer == answers[0] for answer in answers)
        answer = answers[0]
        parent = self.made[answer.parent] if answer.parent else set()
        held = (parent - set(answer.replaced)) | set(answer.added)
        assert self.made.setdefault(answer.id, held) == held
        assert answer.created == bool(answer.added)
        return answer.id

    @rule(
        snapshot=snapshots,
        channel=st.sampled_from(list(CHANNELS)),
        crash=crashes,
        stale=st.booleans(),
        who=st.integers(0, 1),
    )
    def move(
        self, snapshot: str | None, channel: str, *, crash: tuple[int, bool] | None, stale: bool, who: int
    ) -> None:
        if snapshot is None:
            return
        journal = self.journal[channel]
        expected = max(len(journal) - stale, 0)
        self.nonces += 1
        for fuse in (crash, None):
            self.arm(fuse)
            with suppress(KilledError):
                try:
                    entry, moved = self.catalogs[who].move(
                        channel,
                        snapshot_id=snapshot,
                        expected_serial=expected,
                        nonce=f"n{self.nonces}",
                        by="x",
                    )
                except ConflictError:
                    assert expected != len(journal)
                    return
                assert entry.snapshot == snapshot
        if moved:
            journal.append(snapshot)
        assert journal[-1] == snapshot

    @rule(slower=snapshots, faster=snapshots, channel=st.sampled_from(list(CHANNELS)))
    def race(self, slower: str | None, faster: str | None, channel: str) -> None:
        """Two promoters expect the same serial; one writes while the other is about to."""
        if slower is None or faster is None:
            return
        self.arm(None)
        journal = self.journal[channel]
        expected, won = len(journal), []

        def promote(who: int, snapshot: str) -> None:
            with suppress(ConflictError):
                _, moved = self.catalogs[who].move(
                    channel,
                    snapshot_id=snapshot,
                    expected_serial=expected,
                    nonce=f"r{self.nonces} {who}",
                    by="x",
                )
                won.extend([snapshot] * moved)

        self.nonces += 1
        self.store.rival, self.store.rival_prefix = lambda: promote(1, faster), f"journal/{channel}/"
        promote(0, slower)
        self.store.rival = None
        if journal[-1:] == [slower]:
            assert won == []  # the channel stands there already
        else:
            assert won == ([slower] if journal[-1:] == [faster] else [faster])
        journal += won

    @rule(
        name=st.integers(0, 20),
        kind=st.sampled_from(["yank", "unyank", "quarantine", "release"]),
        crash=crashes,
        who=st.integers(0, 1),
    )
    def mark(self, name: int, kind: Mark, crash: tuple[int, bool] | None, who: int) -> None:
        """Yanks and quarantines: the last acknowledged word on a file is the one that all servers tell."""
        if not self.bytes:
            return
        filename = sorted(self.bytes)[name % len(self.bytes)]
        project = filename.partition("-")[0]
        self.nonces += 1
        for fuse in (crash, None):
            self.arm(fuse)
            with suppress(KilledError):
                try:
                    self.catalogs[who].status.mark(
                        kind, project=project, filename=filename, reason="r", by="x", nonce=f"m{self.nonces}"
                    )
                except ConflictError:
                    assert kind in ("unyank", "release")
        self.marked[filename, "yank" in kind] = kind in ("yank", "quarantine")

    @invariant()
    def marks_are_the_last_word(self) -> None:
        self.arm(None)
        for catalog in (*self.catalogs, Catalog(self.store, CHANNELS)):
            marks = catalog.status.marks()
            for (filename, yank), wanted in self.marked.items():
                of = marks.of(filename.partition("-")[0])
                said = of.yank_reason(filename) if yank else of.quarantine_reason(filename)
                assert (said is not None) == wanted

    @invariant()
    def readers_see_the_model(self) -> None:
        self.arm(None)
        for catalog in (*self.catalogs, Catalog(self.store, CHANNELS)):
            for channel, journal in self.journal.items():
                assert [move.snapshot for move in catalog.moves(channel)] == journal

    @invariant()
    def snapshots_are_whole_and_unchanged(self) -> None:
        catalog = Catalog(self.store, CHANNELS)
        assert set(catalog.snapshot_ids()) == set(self.made)
        for snapshot_id, names in self.made.items():
            shown = list(catalog.snapshot_records(catalog.find_snapshot(snapshot_id)))
            assert {record.filename for record in shown} == names
            assert len({cell(record) for record in shown}) == len(shown)
            for record in shown:
                assert self.bytes[record.filename] == record.sha256

    def teardown(self) -> None:
        catalog = Catalog(self.store, CHANNELS)
        seen: dict[str, Record] = {}
        assert [fault for name in CHANNELS for fault in check.journal_faults(catalog, name)] == []
        assert list(check.status_faults(catalog)) == []
        for snapshot_id in catalog.snapshot_ids():
            assert list(check.snapshot_faults(catalog, snapshot_id, seen)) == []
        for record in seen.values():
            assert list(check.record_faults(catalog, record, deep=True)) == []

    def arm(self, crash: tuple[int, bool] | None) -> None:
        self.store.fuse, self.store.after = crash or (None, False)


class IndexInDirectory(Index):
    """The same on the directory store."""

    def make_inner(self) -> ObjectStore:
        self.folder = tempfile.TemporaryDirectory()
        return DirectoryStore(Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class IndexOnMoto(Index):
    """The same on S3, where the answer to every third write is lost after the write was done."""

    def make_inner(self) -> ObjectStore:
        self.ends = ExitStack()
        self.ends.enter_context(patch("time.sleep"))  # botocore waits before it asks again
        folder = self.ends.enter_context(tempfile.TemporaryDirectory())
        store = self.ends.enter_context(moto_store(Path(folder)))
        events, writes = store.client.meta.events, count(1)

        def lose(request: AWSRequest, **_: object) -> None:
            if next(writes) % 3 == 0:
                events.unregister("before-send.s3.PutObject", lose)
                events.emit("before-send.s3.PutObject", request=request)
                events.register_first("before-send.s3.PutObject", lose)
                raise ConnectionClosedError(endpoint_url=request.url)

        events.register_first("before-send.s3.PutObject", lose)
        self.ends.callback(events.unregister, "before-send.s3.PutObject", lose)
        return store

    def teardown(self) -> None:
        super().teardown()
        self.ends.close()


class IndexOnSeaweed(Index):
    """The same on a real S3 server."""

    server: Seaweed

    def make_inner(self) -> ObjectStore:
        self.folder = tempfile.TemporaryDirectory()
        return seaweed_store(self.server, Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


@pytest.fixture
def on_seaweed(seaweed: Seaweed) -> None:
    IndexOnSeaweed.server = seaweed


TestIndexInMemory = Index.TestCase
TestIndexInMemory.settings = hypothesis_settings(max_examples=60, stateful_step_count=25, deadline=None)
TestIndexInDirectory = IndexInDirectory.TestCase
TestIndexInDirectory.settings = hypothesis_settings(max_examples=5, stateful_step_count=15, deadline=None)
TestIndexOnMoto = IndexOnMoto.TestCase
TestIndexOnMoto.settings = hypothesis_settings(max_examples=5, stateful_step_count=12, deadline=None)
TestIndexOnSeaweed = pytest.mark.slow(pytest.mark.usefixtures("on_seaweed")(IndexOnSeaweed.TestCase))
TestIndexOnSeaweed.settings = hypothesis_settings(max_examples=5, stateful_step_count=12, deadline=None)
