"""Reads and writes the journal of yanks (PEP 592) and quarantines (PEP 792); rules are in ``rules/marks.py``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from index_server.catalog.journal import Journal
from index_server.errors import ConflictError, DamagedError, NotFoundError
from index_server.model import GENESIS, Mark, StatusEntry, stamp
from index_server.rules.marks import NONE, UNDOES, Marks, ProjectMarks, fold
from index_server.store.interface import ObjectStore
from index_server.store.objects import keys

STATUS = "_status"  # the name of the journal; no channel can have it


class StatusBook:
    """The journal of yanks and quarantines, which applies to all channels."""

    def __init__(
        self,
        store: ObjectStore,
        is_recorded: Callable[[str, str | None], bool],
        now: Callable[[], datetime],
    ) -> None:
        self.journal = Journal(store, STATUS, StatusEntry)
        self._is_recorded = is_recorded
        self._now = now
        self._marks = Marks()
        self._store = store
        self._subjects: dict[int, frozenset[str]] = {}  # of damaged entries

    @property
    def last_read(self) -> Marks:
        """The yanks and quarantines as they were last read. Asks nothing of the store."""
        return self._marks

    def marks(self) -> Marks:
        """The current yanks and quarantines. Costs one request to the store if nothing changed."""
        if self._marks.serial != self.journal.serial:
            self._marks = fold(self.journal.entries())
        return self._marks

    def shown(self, project: str | None) -> tuple[int, ProjectMarks]:
        """Return the serial of the journal, and the marks of a project, for pages. Without a project: no marks.

        Raises:
            DamagedError: a damaged entry may be about the project.
        """
        try:
            marks = self.marks()
            return marks.serial, marks.of(project) if project else NONE
        except DamagedError:
            entries = self.journal.readable()
            for serial, entry in enumerate(entries, 1):
                if project and entry is None and self._may_speak_of(project, serial):
                    raise
            marks = fold(entry for entry in entries if entry is not None)
            return len(entries), marks.of(project) if project else NONE

    def _may_speak_of(self, project: str, serial: int) -> bool:
        """Whether a damaged entry may be about a project. ``marked/`` has the projects of each serial's writers."""
        if serial not in self._subjects:
            named = (key.removeprefix("marked/").rpartition(".") for key in keys(self._store, "marked/"))
            self._subjects[serial] = frozenset(name for name, _, each in named if int(each) == serial)
        subjects = self._subjects[serial]
        return not subjects or project in subjects  # older servers did not write ``marked/``

    def mark(
        self, kind: Mark, *, project: str, filename: str | None, reason: str, by: str, nonce: str
    ) -> tuple[StatusEntry, bool]:
        """Yank, quarantine or undo. Return the entry, and whether this nonce wrote it.

        Raises:
            NotFoundError: there is no such file or project.
            ConflictError: there is nothing to undo, or the nonce was used for something else.
        """
        if not self._is_recorded(project, filename):
            raise NotFoundError(f"the index has no {'file' if filename else 'project'} {filename or project}")
        while (mine := self.journal.of_nonce(nonce)) is None:
            marks = self.marks()
            if not marks.changed_by(kind, project, filename, reason):
                standing = marks.latest(kind, project, filename)
                if standing is None:
                    raise ConflictError(f"{filename or project} is not {UNDOES[kind]}")
                return standing, False
            entry = StatusEntry(
                serial=marks.serial + 1,
                kind=kind,
                project=project,
                filename=filename,
                reason=reason,
                previous_hash=GENESIS,
                nonce=nonce,
                at=stamp(self._now()),
                by=by,
            )
            self._store.create(f"marked/{project}.{entry.serial}", b"")
            self.journal.append(entry)
        if (mine.kind, mine.project, mine.filename, mine.reason) != (kind, project, filename, reason):
            raise ConflictError(f"this nonce was used for entry {mine.serial}", serial=mine.serial)
        self.journal.hint()
        return mine, True
