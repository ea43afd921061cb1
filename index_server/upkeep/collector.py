"""Deletes the files that no retention rule keeps any longer, in four steps.

1.  Compute the kept files (see :mod:`index_server.rules.retention`), and list the stored files.
2.  Mark: write a ``collected`` entry about the stored files that are not kept.
3.  Compute the kept files again. A publisher announces a file first and reads the marks afterwards. So this step
    sees the announcement, or the publisher sees the mark and stops (see :mod:`index_server.catalog.tombstones`).
4.  Sweep the marked files. Files that are kept now are copied to their next generation; all others are deleted.

If a run is killed, the next one continues with its marks at step 3. Two runs may work at the same time: each
deletes only generations that a mark names, and computes the kept files after that mark. Records, shards, snapshots
and journals are never deleted, so that a file name never refers to other bytes.
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
    """The kept files, and the numbers of the objects that keep them."""

    files: frozenset[File]
    promised: frozenset[File]  # those in kept snapshots
    snapshots: int
    for_ever: int  # of the snapshots
    leases: int
    announced: int


@dataclass
class Report:
    """The result of a run, or of a dry run."""

    today: str
    dry_run: bool
    snapshots: int = 0  # kept
    for_ever: int = 0  # of the kept snapshots
    leases: int = 0
    reachable: int = 0  # files
    stored: int = 0  # files
    collected: list[str] = field(default_factory=list)  # file names
    bytes_freed: int = 0
    spared: list[str] = field(default_factory=list)  # file names that became reachable during the run
    missing: list[str] = field(default_factory=list)  # reachable files that are not stored: a fault


class Collector:
    """One run of the collector. It calls ``step`` with the name of each step, for progress output."""

    def __init__(
        self, catalog: Catalog, terms: Terms, step: Callable[[str], object] = lambda _: None
    ) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._terms = terms
        self._step = step
        self._today = catalog.now().astimezone(UTC).date().isoformat()

    def run(self, *, dry_run: bool = False) -> Report:
        """Delete the files that nothing keeps. Report the deleted, kept and missing files."""
        self._step("computing the kept files")
        collected = self._catalog.tombs.look()
        present = self._present()
        reach = self._reach(present)
        doomed = [tomb for file in present if (tomb := _doomed(file, reach, collected)) is not None]
        report = Report(today=self._today, dry_run=dry_run, stored=len(present))
        if dry_run:
            waiting = [mark.tomb for file, mark in collected.gone.items() if file in present]
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
        """Compute the kept files again. Delete marked files that are not kept, including those of earlier runs."""
        self._step("computing the kept files again")
        tombs = self._catalog.tombs
        tombs.look()
        present = self._present()
        reach = self._reach(present)
        self._step("sweeping")
        for file, generations in present.items():
            mark = tombs.known.gone.get(file)
            if mark is not None and file in reach.files and self._spare(mark.tomb):
                report.spared.append(file[1])
                mark = None
            last = mark.tomb.generation if mark else tombs.known.generation(file) - 1
            doomed = sorted(generation for generation in generations if generation <= last)
            if mark is not None and doomed:  # else a publisher is uploading it again
                self._note(report, file, doomed)
            for generation in doomed:
                self._remove(file, generation)
        self._forget_announcements()
        self._restored_meanwhile(report)
        return self._reach(self._present())

    def _spare(self, tomb: Tomb) -> bool:
        """Copy a file to its next generation. Return whether its bytes were still stored."""
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
        """Remove files from the report that were uploaded again during the run."""
        collected = {filename for _, filename in self._catalog.tombs.look().gone}
        report.collected = [name for name in report.collected if name in collected]

    def _forget_announcements(self) -> None:
        """Delete announcements that are too old to keep files."""
        for key, intent in announced(self._store):
            if self._terms.after(intent.at, self._terms.grace) < self._today:
                self._store.remove(key)

    def _note(self, report: Report, file: File, generations: Iterable[int]) -> None:
        report.collected.append(file[1])
        for generation in generations:
            report.bytes_freed += self._store.size(generation_key(file, generation)) or 0

    # Stored and kept files

    def _present(self) -> dict[File, set[int]]:
        """Return all stored files with their stored generations; a generation may lack its file or its metadata."""
        found: dict[File, set[int]] = defaultdict(set)
        for key in keys(self._store, "files/"):
            file, generation = split_key(key)
            found[file].add(generation)
        return dict(found)

    def _refuse_loss(self) -> None:
        """Check that no journal has lost entries, which may have kept files that nothing else keeps.

        Raises:
            DamagedError: a journal has lost entries.
        """
        hints = {key.split("/")[1].removesuffix(".json") for key in keys(self._store, "channels/")}
        for name in sorted(hints):
            Journal(self._store, name, Move).refuse_loss()

    def _reach(self, present: Iterable[File]) -> Reach:
        """Compute the kept files from the current journals, leases and announcements."""
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
        """Return the moves of every channel, including former ones. A former channel keeps all of its snapshots."""
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
        """Return those of ``files`` that were written or added to a session within the days of grace (rule 4)."""
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
        """Whether a reachable file is missing without having been collected rightly.

        An earlier run may have collected it before ``retention_days`` was raised, or before a session named it.
        """
        collected = self._catalog.tombs.known
        if self._store.size(generation_key(file, collected.generation(file))) is not None:
            return False
        return file not in collected.gone or (file in reach.promised and file[1] in report.collected)


def _doomed(file: File, reach: Reach, collected: Collected) -> Tomb | None:
    """Return the mark for a stored file; None if the file is kept or already marked."""
    if file in reach.files or file in collected.gone:
        return None
    sha256, filename = file
    return Tomb(
        project=parse_name(filename).project,
        filename=filename,
        sha256=sha256,
        generation=collected.generation(file),
    )
