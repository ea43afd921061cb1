"""Writes and reads the journal of yanks (PEP 592) and quarantines (PEP 792); what it means is in ``status``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from index_server.catalog.journal import Journal
from index_server.errors import ConflictError, NotFoundError
from index_server.model import GENESIS, Mark, StatusEntry, stamp
from index_server.rules.marks import UNDOES, Marks, fold
from index_server.store.interface import ObjectStore

STATUS = "_status"  # the journal's name; no channel can be called so


class StatusBook:
    """The one journal over all channels."""

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

    def marks(self) -> Marks:
        """What is yanked and quarantined now. One look at the store when nothing changed."""
        if self._marks.serial != self.journal.serial:
            self._marks = fold(self.journal.entries())
        return self._marks

    def mark(
        self, kind: Mark, *, project: str, filename: str | None, reason: str, by: str, nonce: str
    ) -> tuple[StatusEntry, bool]:
        """Yank, quarantine, or undo it; gives the entry, and whether it is this nonce's own.

        Raises:
            NotFoundError: no such file or project.
            ConflictError: there is nothing to undo, or the nonce stands for something else.
        """
        if not self._is_recorded(project, filename):
            raise NotFoundError(f"{filename or project} is not recorded here")
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
            self.journal.append(entry)
        if (mine.kind, mine.project, mine.filename, mine.reason) != (kind, project, filename, reason):
            raise ConflictError(f"this nonce stands for entry {mine.serial}", serial=mine.serial)
        self.journal.hint(mine.serial)
        return mine, True
