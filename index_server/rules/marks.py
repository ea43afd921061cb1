"""Derives yanks and quarantines from their journal. Pure.

A yanked file (PEP 592) stays on its pages with the reason; installers skip it unless it is pinned. A quarantined
file is on no page and is not served. A quarantined project has the status ``quarantined`` (PEP 792): its pages list
no files and it accepts no uploads. Everything can be undone; the journal records by whom and why.
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
    """The yanked and quarantined files of one project, with reasons. Hashable: a part of the key of kept pages."""

    yanked: tuple[tuple[str, str], ...] = ()
    quarantined: tuple[tuple[str, str], ...] = ()
    project: str | None = None  # the reason why the whole project is quarantined

    def yank_reason(self, filename: str) -> str | None:
        """The reason why a file is yanked; None if it is not."""
        return dict(self.yanked).get(filename)

    def quarantine_reason(self, filename: str) -> str | None:
        """The reason why a file or its project is quarantined; None if neither is."""
        return self.project if self.project is not None else dict(self.quarantined).get(filename)

    def offered(self, records: Iterable[Record]) -> list[Record]:
        """The records that pages may list."""
        if self.project is not None:
            return []
        hidden = dict(self.quarantined)
        return [record for record in records if record.filename not in hidden]

    def after(self, kind: Mark, filename: str | None, reason: str) -> ProjectMarks:
        """The marks after one more entry."""
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
        """Whether such an entry would change anything."""
        marks = self.of(project)
        return marks.after(kind, filename, reason) != marks

    def latest(self, kind: Mark, project: str, filename: str | None) -> StatusEntry | None:
        """The last entry about the same file or project."""
        return next(
            (
                entry
                for entry in reversed(self.entries)
                if (entry.project, entry.filename) == (project, filename) and entry.kind in _PAIRS[kind]
            ),
            None,
        )


def fold(entries: Iterable[StatusEntry]) -> Marks:
    """The marks after all entries of the journal, the oldest first."""
    kept = tuple(entries)
    projects: dict[str, ProjectMarks] = {}
    for entry in kept:
        before = projects.get(entry.project, NONE)
        projects[entry.project] = before.after(entry.kind, entry.filename, entry.reason)
    marked = {name: marks for name, marks in projects.items() if marks != NONE}
    return Marks(kept[-1].serial if kept else 0, marked, kept)
