"""What the journal of yanks and quarantines means. Pure.

A yanked file (PEP 592) stays on its pages with the reason: installers pass it over unless it is pinned. A file
under quarantine is on no page and is not sent. A project under quarantine has the status ``quarantined`` (PEP
792): its pages offer no file and it takes no upload. All of it can be undone; the journal keeps who and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from index_server.model import Mark, Record, StatusEntry

UNDOES: Mapping[Mark, str] = {"unyank": "yanked", "release": "under quarantine"}
_PAIRS: Mapping[Mark, frozenset[Mark]] = {
    "yank": frozenset({"yank", "unyank"}),
    "unyank": frozenset({"yank", "unyank"}),
    "quarantine": frozenset({"quarantine", "release"}),
    "release": frozenset({"quarantine", "release"}),
}


@dataclass(frozen=True)
class ProjectMarks:
    """What is yanked and quarantined of one project: file names and reasons. Pages are kept by it: hashable."""

    yanked: tuple[tuple[str, str], ...] = ()
    quarantined: tuple[tuple[str, str], ...] = ()
    project: str | None = None  # why the whole project is under quarantine

    def yank_reason(self, filename: str) -> str | None:
        """Why a file is yanked; None where it is not."""
        return dict(self.yanked).get(filename)

    def quarantine_reason(self, filename: str) -> str | None:
        """Why a file is under quarantine, by itself or with its project; None where it is not."""
        return self.project if self.project is not None else dict(self.quarantined).get(filename)

    def offered(self, records: Iterable[Record]) -> list[Record]:
        """The records that may be shown."""
        if self.project is not None:
            return []
        hidden = dict(self.quarantined)
        return [record for record in records if record.filename not in hidden]

    def after(self, kind: Mark, filename: str | None, reason: str) -> ProjectMarks:
        """The marks once an entry was written."""
        yanked, quarantined, project = dict(self.yanked), dict(self.quarantined), self.project
        match kind, filename:
            case "yank", str():
                yanked[filename] = reason
            case "unyank", str():
                yanked.pop(filename, None)
            case "quarantine", str():
                quarantined[filename] = reason
            case "release", str():
                quarantined.pop(filename, None)
            case "quarantine", None:
                project = reason
            case "release", None:
                project = None
        return ProjectMarks(tuple(sorted(yanked.items())), tuple(sorted(quarantined.items())), project)


NONE = ProjectMarks()


@dataclass(frozen=True)
class Marks:
    """All marks as of a serial of the journal."""

    serial: int = 0
    projects: Mapping[str, ProjectMarks] = field(default_factory=dict)
    entries: tuple[StatusEntry, ...] = ()

    def of(self, project: str) -> ProjectMarks:
        """The marks of a project."""
        return self.projects.get(project, NONE)

    def changed_by(self, kind: Mark, project: str, filename: str | None, reason: str) -> bool:
        """Whether such an entry would say anything new."""
        marks = self.of(project)
        return marks.after(kind, filename, reason) != marks

    def latest(self, kind: Mark, project: str, filename: str | None) -> StatusEntry | None:
        """The last entry that speaks of the same thing."""
        return next(
            (
                entry
                for entry in reversed(self.entries)
                if (entry.project, entry.filename) == (project, filename) and entry.kind in _PAIRS[kind]
            ),
            None,
        )


def fold(entries: Iterable[StatusEntry]) -> Marks:
    """The marks that a journal amounts to, the oldest entry first."""
    kept = tuple(entries)
    projects: dict[str, ProjectMarks] = {}
    for entry in kept:
        before = projects.get(entry.project, NONE)
        projects[entry.project] = before.after(entry.kind, entry.filename, entry.reason)
    marked = {name: marks for name, marks in projects.items() if marks != NONE}
    return Marks(kept[-1].serial if kept else 0, marked, kept)
