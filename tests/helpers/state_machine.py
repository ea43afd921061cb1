"""Publishers, readers, a collector and crashes against one model: old or new, never mixed, nothing kept gone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from index_server.catalog.catalog import Catalog, cell
from index_server.catalog.leasing import take
from index_server.catalog.tombstones import split_key
from index_server.errors import ConflictError, GoneError, NotFoundError
from index_server.model import Mark, Record, sha256_hex, stamp
from index_server.rules.retention import Terms
from index_server.store.interface import ObjectStore
from index_server.store.objects import keys
from index_server.upkeep import check
from index_server.upkeep.collector import Collector
from tests.helpers.moments import Moment, Pick, Trouble, at_the_collector, moments, picks, seldom, troubles
from tests.helpers.records import make_record
from tests.helpers.steps import StepStore, die
from tests.helpers.stores import KilledError, MemoryStore

CHANNELS = {"nightly": "", "stable": ""}
DAYS = 3
TERMS = Terms({"nightly": DAYS, "stable": None})
SESSIONS = [letter * 22 for letter in "abc"]
STRAYS = [
    "README",
    "files/note",
    "journal/nightly/1.json.bak",
    "journal/_status/x.json",
    "snapshots/22000101-1.json.orig",
    "intents/x",
]
LEASES = ["ci", "release"]
# Long after the clock of any machine that runs this, so that no file is young by the store's own clock.
FIRST = datetime(2200, 1, 1, 12, tzinfo=UTC)
records = st.builds(
    make_record,
    project=st.sampled_from(["demo", "other"]),
    target=st.sampled_from([None, "generic", "neoverse-v1"]),
    digest=st.sampled_from([letter * 64 for letter in "abc"]),
)


class Index(RuleBasedStateMachine):
    """Two servers and a collector on one store. A call may be killed before or after any call of its store.

    The model is what was acknowledged. Whatever a killed call did or did not do, asking again must give what
    an undisturbed call would have given, and no reader may see anything but the model's old or new state. What
    the model promises is there; what it does not promise is gone after an undisturbed collection.
    """

    def make_inner(self) -> ObjectStore:
        return MemoryStore()

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.make_inner()
        self.store = StepStore(self.inner)
        self.now = FIRST
        self.catalogs = [self.on(self.store) for _ in range(2)]
        self.bytes: dict[str, str] = {}  # file name -> sha256
        self.records: dict[str, Record] = {}
        self.made: dict[str, set[str]] = {}  # snapshot -> file names
        self.made_on: dict[str, date] = {}
        self.journal: dict[str, list[tuple[str, date]]] = {name: [] for name in CHANNELS}
        self.joined: dict[tuple[str, str], date] = {}  # session and file name -> since when
        self.entered: dict[tuple[str, str], date] = {}  # the same, of adoptions that came too late
        self.leased: dict[str, str] = {}  # lease -> snapshot
        self.let_go: list[tuple[str, date]] = []  # snapshots of leases that ended
        self.announced: dict[str, date] = {}  # snapshots that somebody tried to move to
        self.gone: set[str] = set()  # files that were collected
        self.nonces = 0
        self.marked: dict[tuple[str, bool], bool] = {}  # file name, whether by a yank -> whether it stands

    def on(self, store: ObjectStore) -> Catalog:
        return Catalog(store, CHANNELS, lambda: self.now)

    def fresh(self) -> Catalog:
        """A server that starts now, and meets no trouble."""
        return self.on(self.inner)

    @property
    def today(self) -> date:
        return self.now.date()

    def nonce(self) -> str:
        self.nonces += 1
        return f"n{self.nonces}"

    def arm(self, trouble: Trouble | None) -> None:
        """Let the next call of the store be number 0, and the trouble come at its own."""
        self.store.calls = 0
        self.store.before = self.store.after = lambda _: None
        if trouble is None:
            return
        trouble.moment.arm(self.store, die if trouble.dies else self.collect_now)

    @initialize()
    def two_nights(self) -> None:
        """A snapshot that nightly left long ago, so that there is something to collect and to promote."""
        for digest in ("a" * 64, "b" * 64):
            self.night(make_record(digest=digest), DAYS + 1)

    @rule(record=records, days=st.integers(1, DAYS + 1))
    def night(self, record: Record, days: int) -> None:
        """One wheel into a session of its own, a snapshot, a move, all undisturbed; then days go by."""
        self.arm(None)
        session = self.nonce().ljust(22, "-")
        self.put(self.catalogs[0], record, session, salt=False)
        made = self.ask(session, "one", "nightly")
        if made is not None:
            self.move_to(made, "nightly")
        self.now += timedelta(days=days)

    # What is promised

    def names(self, snapshots: Iterable[str]) -> set[str]:
        return set().union(*(self.made[each] for each in snapshots))

    def recent(self, day: date) -> bool:
        return day + timedelta(days=DAYS) >= self.today

    def promised(self) -> set[str]:
        """The files that may not go, but for those that were gone when they were promised."""
        kept = {snapshot for snapshot, _ in self.journal["stable"]}
        nightly = self.journal["nightly"]
        kept |= {snapshot for snapshot, _ in nightly[-1:]}
        kept |= {before[0] for before, after in pairwise(nightly) if self.recent(after[1])}
        kept |= {snapshot for snapshot, day in self.made_on.items() if self.recent(day)}
        kept |= set(self.leased.values()) | {snapshot for snapshot, day in self.let_go if self.recent(day)}
        young = {name for (_, name), day in self.joined.items() if self.recent(day)}
        return self.names(kept) | young

    def snapshot_of(self, pick: Pick) -> str | None:
        safe = self.promised()
        doomed = [name for name, held in self.made.items() if held - safe and not held & self.gone]
        return pick.of(self.made, doomed)

    def file_of(self, pick: Pick) -> str | None:
        return pick.of(self.bytes, self.bytes.keys() - self.promised() - self.gone)

    def present(self) -> set[str]:
        return {split_key(key)[0][1] for key in keys(self.inner, "files/")}

    def collect_now(self, store: ObjectStore | None = None) -> None:
        """A whole collection; nothing that is promised may go, be somebody else half way or not."""
        promised = self.promised()
        try:
            report = Collector(self.on(store or self.inner), TERMS).run()
            assert report.missing == []
        finally:  # a killed one has marked, perhaps
            catalog = self.fresh()
            gone = {name for _, name in catalog.tombs.look().gone}
            assert not (gone - self.gone) & promised
            self.gone = gone

    # Publishers

    @rule(
        record=records,
        salt=seldom,
        session=st.sampled_from(SESSIONS),
        trouble=troubles("files/", "records/", "sessions/", "journal/"),
        who=st.integers(0, 1),
    )
    def upload(self, record: Record, *, salt: bool, session: str, trouble: Trouble | None, who: int) -> None:
        for each in (trouble, None):
            self.arm(each)
            with suppress(KilledError):
                self.put(self.catalogs[who], record, session, salt=salt)

    @rule(
        name=picks,
        session=st.sampled_from(SESSIONS),
        trouble=troubles("files/", "sessions/", "journal/"),
        who=st.integers(0, 1),
    )
    def upload_again(self, name: Pick, session: str, trouble: Trouble | None, who: int) -> None:
        """The same bytes once more, whether they are there, are about to go, or are gone."""
        filename = self.file_of(name)
        if filename is not None:
            self.upload(self.records[filename], salt=False, session=session, trouble=trouble, who=who)

    def put(self, catalog: Catalog, record: Record, session: str, *, salt: bool) -> None:
        data = f"{record.filename} {salt}".encode()
        record = record.model_copy(
            update={"sha256": sha256_hex(data), "size": len(data), "metadata_sha256": sha256_hex(b"m")}
        )
        known = self.bytes.setdefault(record.filename, record.sha256)
        self.records.setdefault(record.filename, record)
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(data)
            try:
                catalog.record_file(record, b"m", Path(file.name), session)
            except ConflictError:
                assert known != record.sha256
                return
        assert known == record.sha256
        self.joined.setdefault((session, record.filename), self.today)
        self.see_gone()
        assert record.filename not in self.gone

    @rule(
        name=picks,
        session=st.sampled_from(SESSIONS),
        trouble=troubles("sessions/"),
        who=st.integers(0, 1),
    )
    def adopt(self, name: Pick, session: str, trouble: Trouble | None, who: int) -> None:
        """A file that is here already goes into a session, or is gone."""
        filename = self.file_of(name)
        if filename is None:
            return
        for each in (trouble, None):
            self.arm(each)
            with suppress(KilledError):
                try:
                    self.catalogs[who].adopt(session, filename, filename.partition("-")[0])
                except GoneError:
                    assert filename in self.gone
                    # The session may have an entry of it, made while it went: who uploads it again is held by that.
                    self.entered[session, filename] = self.today
                    return
                # An entry that the session has already keeps its date. Once that has passed, it promises nothing.
                self.joined.setdefault((session, filename), self.today)
                assert filename not in self.gone & self.promised()

    @rule(
        session=st.sampled_from(SESSIONS),
        key=st.sampled_from(["one", "two", "three"]),
        channel=st.sampled_from(list(CHANNELS)),
        trouble=troubles("sessions/", "shards/", "snapshots/"),
        who=st.integers(0, 1),
    )
    def snapshot(self, session: str, key: str, channel: str, trouble: Trouble | None, who: int) -> None:
        self.ask(session, key, channel, trouble, who)

    def ask(
        self, session: str, key: str, channel: str, trouble: Trouble | None = None, who: int = 0
    ) -> str | None:
        """A snapshot of a session; None where there can be none."""
        answers = []
        for each in (trouble, None):
            self.arm(each)
            with suppress(KilledError):
                try:
                    answers.append(self.catalogs[who].make_snapshot(session, key, channel))
                except NotFoundError:
                    assert not self.catalogs[who].sessions.files(session)
                    return None
                except ConflictError:  # the key was used for the other channel
                    return None
        assert all(answer == answers[0] for answer in answers)
        answer = answers[0]
        parent = self.made[answer.parent] if answer.parent else set()
        held = (parent - set(answer.replaced)) | set(answer.added)
        assert self.made.setdefault(answer.id, held) == held
        assert answer.created == bool(answer.added)
        self.made_on[answer.id] = datetime.strptime(answer.id[:8], "%Y%m%d").replace(tzinfo=UTC).date()
        return answer.id

    # Channels

    def point(self, catalog: Catalog, snapshot: str, channel: str, expected: int, nonce: str) -> bool | None:
        """Move a channel; gives whether it was a move, or None where it was refused with good reason."""
        serial = len(self.journal[channel])
        self.announced[snapshot] = self.today
        try:
            entry, moved = catalog.move(
                channel, snapshot_id=snapshot, expected_serial=expected, nonce=nonce, by="x"
            )
        except ConflictError as error:
            if "collected" in error.members:
                assert self.made[snapshot] & self.gone
            else:
                assert expected != serial
            return None
        assert entry.snapshot == snapshot
        assert not self.made[snapshot] & self.gone
        return moved

    @rule(
        snapshot=picks,
        channel=st.sampled_from(list(CHANNELS)),
        trouble=troubles("intents/", "journal/"),
        stale=seldom,
        who=st.integers(0, 1),
    )
    def move(self, snapshot: Pick, channel: str, *, trouble: Trouble | None, stale: bool, who: int) -> None:
        chosen = self.snapshot_of(snapshot)
        if chosen is not None:
            self.move_to(chosen, channel, trouble=trouble, stale=stale, who=who)

    def move_to(
        self,
        snapshot: str,
        channel: str,
        *,
        trouble: Trouble | None = None,
        stale: bool = False,
        who: int = 0,
    ) -> None:
        journal, nonce = self.journal[channel], self.nonce()
        expected = max(len(journal) - stale, 0)
        moved = None
        for each in (trouble, None):
            self.arm(each)
            with suppress(KilledError):
                moved = self.point(self.catalogs[who], snapshot, channel, expected, nonce)
                if moved is None:
                    return
        if moved:
            journal.append((snapshot, self.today))
        assert journal[-1][0] == snapshot

    @rule(
        slower=picks,
        faster=picks,
        channel=st.sampled_from(list(CHANNELS)),
        moment=moments("intents/", "journal/"),
    )
    def race(self, slower: Pick, faster: Pick, channel: str, moment: Moment) -> None:
        """Two promoters expect the same serial; one promotes at some store call of the other."""
        one, other = self.snapshot_of(slower), self.snapshot_of(faster)
        if one is None or other is None:
            return
        journal = self.journal[channel]
        expected, nonces = len(journal), (self.nonce(), self.nonce())
        head = journal[-1][0] if journal else None
        won: list[str] = []
        refused: list[str] = []

        def promote(who: int, snapshot: str) -> None:
            self.announced[snapshot] = self.today
            try:
                _, moved = self.catalogs[who].move(
                    channel, snapshot_id=snapshot, expected_serial=expected, nonce=nonces[who], by="x"
                )
                won.extend([snapshot] * moved)
            except ConflictError as error:
                refused.extend([snapshot] * ("collected" in error.members))

        self.arm(None)
        ran: list[str] = []

        def promote_other() -> None:
            ran.append(other)
            promote(1, other)

        moment.arm(self.store, promote_other)
        promote(0, one)
        able = [each for each in (one, *ran) if each != head and not self.made[each] & self.gone]
        assert all(self.made[each] & self.gone for each in refused)
        assert len(won) == bool(able)
        assert set(won) <= set(able)
        journal += [(snapshot, self.today) for snapshot in won]

    @rule(
        name=picks,
        kind=st.sampled_from(["yank", "unyank", "quarantine", "release"]),
        trouble=troubles("journal/"),
        who=st.integers(0, 1),
    )
    def mark(self, name: Pick, kind: Mark, trouble: Trouble | None, who: int) -> None:
        """Yanks and quarantines: the last acknowledged word on a file is the one that all servers tell."""
        filename = self.file_of(name)
        if filename is None:
            return
        project, nonce = filename.partition("-")[0], self.nonce()
        for each in (trouble, None):
            self.arm(each)
            with suppress(KilledError):
                try:
                    self.catalogs[who].status.mark(
                        kind, project=project, filename=filename, reason="r", by="x", nonce=nonce
                    )
                except ConflictError:
                    assert kind in ("unyank", "release")
        self.marked[filename, "yank" in kind] = kind in ("yank", "quarantine")

    @rule(name=st.sampled_from(LEASES), snapshot=picks, trouble=troubles("journal/"), who=st.integers(0, 1))
    def lease(self, name: str, snapshot: Pick, trouble: Trouble | None, who: int) -> None:
        chosen = self.snapshot_of(snapshot)
        if chosen is None:
            return
        for each in (trouble, None):
            self.arm(each)
            with suppress(KilledError):
                before = self.leased.get(name)
                try:
                    take(self.catalogs[who], name, snapshots=(chosen,), filenames=(), message="", by="x")
                except GoneError:
                    assert self.made[chosen] & self.gone
                    self.fell(name)
                    return
                assert not self.made[chosen] & self.gone
                if before is not None and before != chosen:
                    self.let_go.append((before, self.today))
                self.leased[name] = chosen

    def fell(self, name: str) -> None:
        """A lease that could not be taken may have ended the one of its name before; the store says which."""
        standing = self.fresh().leases.standing(name)
        if name in self.leased and (standing is None or standing.snapshots != (self.leased[name],)):
            self.let_go.append((self.leased.pop(name), self.today))

    @rule(name=st.sampled_from(LEASES), trouble=troubles("journal/"), who=st.integers(0, 1))
    def end_lease(self, name: str, trouble: Trouble | None, who: int) -> None:
        if name not in self.leased:
            return
        for each in (trouble, None):
            self.arm(each)
            with suppress(KilledError, NotFoundError):  # the second time there is none
                self.catalogs[who].leases.end(name, at=stamp(self.now), by="x")
        self.let_go.append((self.leased.pop(name), self.today))

    # The collector

    @rule(days=st.integers(1, DAYS + 2))
    def time_passes(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(death=st.none() | at_the_collector)
    def collect(self, death: Moment | None) -> None:
        """What is promised stays; of all else nothing is left, unless the collector died."""
        self.arm(Trouble(death, dies=True) if death else None)
        try:
            self.collect_now(self.store)
        except KilledError:
            return
        tried = {snapshot for snapshot, day in self.announced.items() if self.recent(day)}
        entered = {name for (_, name), day in self.entered.items() if self.recent(day)}
        assert self.present() <= self.promised() | self.names(tried) | entered

    @rule(
        beside=st.tuples(picks, st.sampled_from(list(CHANNELS)))
        | st.tuples(records, st.sampled_from(SESSIONS)),
        moment=at_the_collector,
    )
    def collect_beside(self, beside: tuple[Pick | Record, str], moment: Moment) -> None:
        """A promoter or a publisher at some store call of the collector: refused, or its files are spared."""
        subject, where = beside
        chosen = self.snapshot_of(subject) if isinstance(subject, Pick) else None
        nonce = self.nonce()

        def act() -> None:
            self.see_gone()
            if isinstance(subject, Record):
                self.put(self.fresh(), subject, where, salt=False)
            elif chosen is not None:
                journal = self.journal[where]
                if self.point(self.fresh(), chosen, where, len(journal), nonce):
                    journal.append((chosen, self.today))

        self.beside(moment, act)

    @rule(
        moment=st.sampled_from(
            [
                ("move", "intents/"),
                ("move", "journal/"),
                ("lease", "journal/"),
                ("upload", "files/"),
                ("upload", "sessions/"),
                ("adopt", "sessions/"),
            ]
        ),
        after=st.booleans(),
        pick=picks,
        channel=st.sampled_from(list(CHANNELS)),
    )
    def across_a_collection(self, moment: tuple[str, str], *, after: bool, pick: Pick, channel: str) -> None:
        """Reach for what is about to be collected, and have it collected around the write that counts."""
        doomed = Pick(pick.number, doomed=True)
        trouble = Trouble(Moment(moment[1], after), dies=False)
        session = self.nonce().ljust(22, "-")
        if not self.bytes.keys() - self.promised() - self.gone:
            self.now += timedelta(days=DAYS + 1)
        match moment[0]:
            case "move":
                self.move(doomed, channel, trouble=trouble, stale=False, who=0)
            case "lease":
                self.lease(LEASES[0], doomed, trouble, 0)
            case "upload":
                self.upload_again(doomed, session, trouble, 0)
            case "adopt":
                self.adopt(doomed, session, trouble, 0)

    def beside(self, moment: Moment, action: Callable[[], object]) -> None:
        """Collect, and act at one of its store calls; what was promised before or meanwhile stays."""
        self.arm(None)
        moment.arm(self.store, action)
        promised = self.promised()
        report = Collector(self.on(self.store), TERMS).run()
        assert report.missing == []
        before = self.gone
        self.see_gone()
        assert not (self.gone - before) & (promised | self.promised())

    def see_gone(self) -> None:
        """What is marked now, by a collector that is half way, or by one that has ended."""
        catalog = self.fresh()
        self.gone = {name for _, name in catalog.tombs.look().gone}

    # Readers

    # What nobody asked for

    @rule(name=st.sampled_from([*CHANNELS, "_status", "_leases", "_collected"]))
    def lose_hint(self, name: str) -> None:
        """Hints only save steps: a server that starts now finds the same journals."""
        self.inner.remove(f"channels/{name}.json")
        self.catalogs[1] = self.on(self.store)

    @rule(key=st.sampled_from(STRAYS))
    def stray(self, key: str) -> None:
        """Somebody leaves a file of their own in the store."""
        self.inner.create(key, b"")

    @invariant()
    def nothing_promised_is_gone(self) -> None:
        self.arm(None)
        catalog = self.fresh()  # the others learn of it when they have to
        assert {name for _, name in catalog.tombs.look().gone} == self.gone
        for name in self.promised() - self.gone:
            key = catalog.stored_key(self.bytes[name], name)
            assert self.inner.size(key), f"{name} is promised and not there"
            assert self.inner.size(f"{key}.metadata")

    @invariant()
    def marks_are_the_last_word(self) -> None:
        self.arm(None)
        for catalog in (*self.catalogs, self.fresh()):
            marks = catalog.status.marks()
            for (filename, yank), wanted in self.marked.items():
                of = marks.of(filename.partition("-")[0])
                reason = of.yank_reason(filename) if yank else of.quarantine_reason(filename)
                assert (reason is not None) == wanted

    @invariant()
    def readers_see_the_model(self) -> None:
        self.arm(None)
        for catalog in (*self.catalogs, self.fresh()):
            for channel, journal in self.journal.items():
                assert [move.snapshot for move in catalog.moves(channel)] == [each for each, _ in journal]

    @invariant()
    def snapshots_are_whole_and_unchanged(self) -> None:
        catalog = self.fresh()
        assert set(catalog.snapshot_ids()) == set(self.made)
        for snapshot_id, names in self.made.items():
            shown = list(catalog.snapshot_records(catalog.find_snapshot(snapshot_id)))
            assert {record.filename for record in shown} == names
            assert len({cell(record) for record in shown}) == len(shown)
            for record in shown:
                assert self.bytes[record.filename] == record.sha256

    def teardown(self) -> None:
        """Whatever came before: the journals are whole, and one more collection leaves what is promised alone."""
        self.arm(None)
        self.now += timedelta(days=2 * DAYS + 1)
        self.collect_now()
        assert self.present() == self.promised() - self.gone
        catalog = self.fresh()
        seen: dict[str, Record] = {}
        assert [fault for name in CHANNELS for fault in check.journal_faults(catalog, name)] == []
        assert [*check.status_faults(catalog), *check.collected_faults(catalog)] == []
        for snapshot_id in catalog.snapshot_ids():
            assert list(check.snapshot_faults(catalog, snapshot_id, seen)) == []
        for record in seen.values():
            assert list(check.record_faults(catalog, record, deep=True)) == []
