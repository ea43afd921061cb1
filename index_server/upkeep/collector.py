"""Takes away the bytes that no promise covers any more: mark, look again, sweep.

1.  Reckon what is kept (see :mod:`index_server.rules.retention`) and list what is stored.
2.  Mark: write a ``collected`` entry about what is stored and not kept.
3.  Look again. Whoever made a marked file reachable in between announced it before looking at the marks, so the
    announcement shows now; or will see the mark and refrain (see :mod:`index_server.catalog.tombstones`).
4.  Sweep the marked files: what is kept after all is copied to its next generation; all else goes.

A run that was killed leaves marks and bytes; the next one begins at step 3 with them. Two runs at once do no
harm: both take only generations that a mark names, and both looked after the mark. Records, shards, snapshots
and journals stay for ever: a name never means other bytes again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC

from index_server.catalog.catalog import Catalog
from index_server.catalog.journal import Journal
from index_server.catalog.tombstones import announced, generation_key, split_key
from index_server.errors import MissingObjectError
from index_server.model import File, Move, SessionFile, Tomb, stamp
from index_server.names import parse_name
from index_server.rules.collected import Collected
from index_server.rules.retention import FOREVER, NEVER, RetentionState, Terms, stays
from index_server.store.objects import keys

WHO = "armwheels-index collect"


@dataclass(frozen=True)
class Reach:
    """What is kept, and by how much of what."""

    files: frozenset[File]
    promised: frozenset[File]  # of them, those of channels and of what was published
    snapshots: int
    for_ever: int
    leases: int
    announced: int


@dataclass
class Report:
    """What a run did, or would do."""

    today: str
    dry_run: bool
    snapshots: int = 0  # kept, of them
    for_ever: int = 0
    leases: int = 0
    reachable: int = 0  # files
    stored: int = 0  # files
    collected: list[str] = field(default_factory=list)  # file names
    bytes_freed: int = 0
    spared: list[str] = field(default_factory=list)  # became reachable while the run went on
    missing: list[str] = field(default_factory=list)  # reachable and not there: must stay empty


class Collector:
    """One run. ``step`` is told what happens, for people who watch."""

    def __init__(
        self, catalog: Catalog, terms: Terms, step: Callable[[str], object] = lambda _: None
    ) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._terms = terms
        self._step = step
        self._today = catalog.now().astimezone(UTC).date().isoformat()

    def run(self, *, dry_run: bool = False) -> Report:
        """Collect what may go; say what was kept and that all of it is there."""
        self._step("what is kept")
        collected = self._catalog.tombs.look()
        present = self._present()
        reach = self._reach(present)
        doomed = [tomb for file in present if (tomb := _doomed(file, reach, collected)) is not None]
        report = Report(today=self._today, dry_run=dry_run, stored=len(present))
        if dry_run:
            waiting = [gone.tomb for file, gone in collected.gone.items() if file in present]
            for tomb in [*doomed, *waiting]:
                generations = sorted(each for each in present[tomb.file] if each <= tomb.generation)
                if generations:
                    self._note(report, tomb.file, generations)
        else:
            self._step("marking")
            self._catalog.tombs.collect(doomed, at=stamp(self._catalog.now()), by=WHO)
            reach = self._sweep(report)
        report.snapshots, report.for_ever, report.leases = reach.snapshots, reach.for_ever, reach.leases
        report.reachable = len(reach.files)
        report.missing = sorted(file[1] for file in reach.files if self._is_missed(file, reach, report))
        return report

    # Sweep

    def _sweep(self, report: Report) -> Reach:
        """Look again, then take what is marked and still not kept, from this run or from one that was killed."""
        self._step("looking again")
        tombs = self._catalog.tombs
        tombs.look()
        present = self._present()
        reach = self._reach(present)
        self._step("sweeping")
        for file, generations in present.items():
            gone = tombs.known.gone.get(file)
            if gone is not None and file in reach.files and self._spare(gone.tomb):
                report.spared.append(file[1])
                gone = None
            last = gone.tomb.generation if gone else tombs.known.generation(file) - 1
            doomed = sorted(generation for generation in generations if generation <= last)
            if gone is not None and doomed:  # else somebody is bringing it back
                self._note(report, file, doomed)
            for generation in doomed:
                self._remove(file, generation)
        self._forget_announcements()
        self._restored_meanwhile(report)
        return self._reach(self._present())

    def _spare(self, tomb: Tomb) -> bool:
        """Bring a file back under its next generation, unless its bytes are gone already."""
        old = generation_key(tomb.file, tomb.generation)
        new = generation_key(tomb.file, tomb.generation + 1)
        with suppress(MissingObjectError), self._store.scratch() as path:
            size = self._store.size(old)
            if size is None:
                return False
            with path.open("wb") as file:
                file.writelines(self._store.read(old, 0, size))
            self._store.create(f"{new}.metadata", self._store.get(f"{old}.metadata"))
            self._store.create_from(new, path)
            again = tomb.model_copy(update={"generation": tomb.generation + 1})
            self._catalog.tombs.restore(again, at=stamp(self._catalog.now()), by=WHO)
            return True
        return False

    def _remove(self, file: File, generation: int) -> None:
        key = generation_key(file, generation)
        self._store.remove(key)
        self._store.remove(f"{key}.metadata")

    def _restored_meanwhile(self, report: Report) -> None:
        """A publisher may have brought back what this run collected: that is no longer gone."""
        gone = {filename for _, filename in self._catalog.tombs.look().gone}
        report.collected = [name for name in report.collected if name in gone]

    def _forget_announcements(self) -> None:
        """An announcement that keeps nothing any more goes."""
        for key, intent in announced(self._store):
            if self._terms.after(intent.at, self._terms.grace) < self._today:
                self._store.remove(key)

    def _note(self, report: Report, file: File, generations: Iterable[int]) -> None:
        report.collected.append(file[1])
        for generation in generations:
            report.bytes_freed += self._store.size(generation_key(file, generation)) or 0

    # What is stored, what is kept

    def _present(self) -> dict[File, set[int]]:
        """All stored files with the generations of which anything is left."""
        found: dict[File, set[int]] = defaultdict(set)
        for key in keys(self._store, "files/"):
            file, generation = split_key(key)
            found[file].add(generation)
        return dict(found)

    def _refuse_loss(self) -> None:
        """Go on if no journal is known to have lost entries: they may have promised what nothing else promises.

        Raises:
            DamagedError: one has.
        """
        hints = {key.split("/")[1].removesuffix(".json") for key in keys(self._store, "channels/")}
        for name in sorted(hints):
            Journal(self._store, name, Move).refuse_loss()

    def _reach(self, present: Iterable[File]) -> Reach:
        """What is kept now, read afresh."""
        self._refuse_loss()
        catalog = self._catalog
        intents = [
            intent
            for _, intent in announced(self._store)
            if self._terms.after(intent.at, self._terms.grace) >= self._today
        ]
        leases = catalog.leases.all()
        journals = self._journals()
        state = RetentionState(
            self._terms, [stay for name, moved in journals.items() for stay in stays(name, moved)], leases
        )
        kept = {each for each in catalog.snapshot_ids() if state.kept(each, self._today)}
        promised = self._files_of(kept)
        files = {file for file, until in state.leased().items() if until >= self._today}
        files |= promised | self._files_of({intent.snapshot for intent in intents} - kept)
        files |= self._young(set(present) - files)
        return Reach(
            files=frozenset(files),
            promised=frozenset(promised),
            snapshots=len(kept),
            for_ever=sum(1 for each in kept if state.until(each) == FOREVER),
            leases=sum(1 for lease in leases if lease.ended is None),
            announced=len(intents),
        )

    def _journals(self) -> dict[str, list[tuple[str, str]]]:
        """The moves of every channel; of one that channels.toml no longer names, everything is kept."""
        names = {key.split("/")[1] for key in keys(self._store, "journal/")}
        unknown = {name for name in names if not name.startswith("_")} - self._catalog.channels.keys()
        journals = {name: self._catalog.moves(name) for name in self._catalog.channels}
        journals |= {name: Journal(self._store, name, Move).entries() for name in unknown}
        return {name: [(move.snapshot, move.at) for move in moves] for name, moves in journals.items()}

    def _files_of(self, snapshots: Iterable[str]) -> set[File]:
        refs = (ref for each in snapshots for ref in self._catalog.snapshot(each).projects.values())
        shards = {ref.shard for ref in refs}
        return {(rec.sha256, rec.filename) for shard in shards for rec in self._catalog.shard(shard).records}

    def _young(self, files: set[File]) -> set[File]:
        """Of files in no kept snapshot, those that came to the index, or into a session, not long ago."""
        dates = dict(self._session_dates({filename for _, filename in files}))
        for file in files:
            generation = self._catalog.tombs.known.generation(file)
            written = self._store.written_at(generation_key(file, generation))
            if written is not None:
                dates[file] = max(dates.get(file, NEVER), stamp(written))
        grace = self._terms.grace
        return {file for file in files & dates.keys() if self._terms.after(dates[file], grace) >= self._today}

    def _session_dates(self, filenames: set[str]) -> Iterator[tuple[File, str]]:
        latest: dict[File, str] = {}
        for key in keys(self._store, "sessions/") if filenames else ():
            parts = key.split("/")
            if parts[2] != "files" or parts[3].removesuffix(".json") not in filenames:
                continue
            entry = SessionFile.decode(self._store.get(key), key=key)
            file = (entry.sha256, entry.filename)
            latest[file] = max(latest.get(file, NEVER), entry.at)
        yield from latest.items()

    def _is_missed(self, file: File, reach: Reach, report: Report) -> bool:
        """Whether a reachable file is not there, unless an earlier run took it when nothing kept it.

        (So it is when ``retention_days`` was raised later, or when a session names what it was told is gone.)
        """
        collected = self._catalog.tombs.known
        if self._store.size(generation_key(file, collected.generation(file))) is not None:
            return False
        return file not in collected.gone or (file in reach.promised and file[1] in report.collected)


def _doomed(file: File, reach: Reach, collected: Collected) -> Tomb | None:
    """The mark for a stored file that nothing keeps."""
    if file in reach.files or file in collected.gone:
        return None
    sha256, filename = file
    return Tomb(
        project=parse_name(filename).project,
        filename=filename,
        sha256=sha256,
        generation=collected.generation(file),
    )
