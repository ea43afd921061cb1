"""Judges files: each is recorded by a signed snapshot, and the statements about it hold, or there are reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from armwheels_verify.errors import RefusedError
from armwheels_verify.ledger import Found, Ledger
from armwheels_verify.sources import Source
from armwheels_verify.statements import Statement, statements
from armwheels_verify.wanted import Wanted


@dataclass(frozen=True)
class Judgement:
    """What holds of one file. It is refused if there are reasons."""

    project: str
    filename: str
    sha256: str
    found: Found | None = None
    statements: Sequence[Statement] = ()
    notes: Sequence[str] = ()
    reasons: Sequence[str] = field(default=())

    @property
    def holds(self) -> bool:
        return not self.reasons


class Judge:
    """Judges files by one index."""

    def __init__(
        self, ledger: Ledger, source: Source, channels: Sequence[str] = (), required: Iterable[str] = ()
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._channels = tuple(channels) or ledger.policy.channels
        self._required = tuple(required)

    def judge(self, wanted: Wanted) -> Judgement:
        """What holds of one file."""
        if wanted.fault:
            return Judgement(wanted.project, wanted.filename, wanted.sha256, reasons=[wanted.fault])
        try:
            found = self._found(wanted)
        except RefusedError as error:
            return Judgement(wanted.project, wanted.filename, wanted.sha256, reasons=[str(error)])
        return self.of_record(wanted.project, found)

    def of_record(self, project: str, found: Found) -> Judgement:
        """What holds of a file that a snapshot records."""
        notes, reasons = [], []
        for name in (None, found.filename):
            kind, why = self._ledger.marks.get((project, name), ("", ""))
            if kind == "quarantine":
                reasons.append(f"it is under quarantine: {why}")
            elif kind == "yank":
                notes.append(f"yanked: {why}")
        try:
            holding, refused = statements(self._source, found, self._ledger.policy)
        except RefusedError as error:
            holding, refused = [], [str(error)]
        there = {statement.kind for statement in holding} | {reason.partition(":")[0] for reason in refused}
        needed = {*self._required, *(self._ledger.policy.required if found.tuned else ())}
        refused += [f"{kind}: the statement is missing" for kind in sorted(needed - there)]
        return Judgement(project, found.filename, found.sha256, found, holding, notes, [*reasons, *refused])

    def _found(self, wanted: Wanted) -> Found:
        try:
            found = self._ledger.find(wanted.project, wanted.sha256, self._channels)
        except RefusedError as error:
            other = (
                self._ledger.other(wanted.project, wanted.filename, self._channels)
                if wanted.filename
                else None
            )
            if other is None:
                raise
            raise RefusedError(
                f"another file has this name: the index signed sha256 {other.sha256[:16]}…, and this one has "
                f"{wanted.sha256[:16]}…"
            ) from error
        if wanted.filename and wanted.filename != found.filename:
            raise RefusedError(f"these are the bytes of {found.filename} under another name")
        return found
