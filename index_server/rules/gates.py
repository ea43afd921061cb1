"""Decides whether a channel may point at a snapshot, by the channel's gates in ``channels.toml``. Pure.

All reasons against the snapshot are reported together. For a snapshot that the channel has shown before, only
evidence and quarantine are checked, since these may have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from index_server.model import Record


@dataclass(frozen=True, order=True)
class Cell:
    """A required wheel, formatted like the builder's build id."""

    recipe: str
    version: str
    python: str
    target: str
    backend: str

    def __str__(self) -> str:
        return "-".join((self.recipe, self.version, self.python, self.target, self.backend))


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The gates of one channel."""

    sources: tuple[
        str, ...
    ] = ()  # channels, one of which must have shown the snapshot; () for no such condition
    required: tuple[Cell, ...] = ()
    evidence: tuple[str, ...] = ()  # kinds that every wheel with a passport must have passed
    approvals: int = 0  # by other people than the mover


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A snapshot with the facts that gates check."""

    records: Sequence[Record]
    shown_in: frozenset[str]  # channels that point at the snapshot or have done so
    returning: bool  # whether the channel of the move is one of them
    quarantined: Mapping[str, str]  # file name -> reason
    evidence: Mapping[str, Mapping[str, bool]]  # sha256 -> kind -> whether the newest one passed
    approvers: frozenset[str]  # the people who approved, without the mover (see names.person)


def reasons(gates: Gates, candidate: Candidate) -> tuple[str, ...]:
    """The reasons against the snapshot; empty if the gates accept it."""
    found = _quarantine(candidate) + _evidence(gates, candidate)
    if not candidate.returning:
        found = _arrival(gates, candidate) + found
    return tuple(found)


def passed(body: object, sha256: str) -> bool:
    """Whether evidence says that this file passed. A report about another file does not count."""
    return isinstance(body, dict) and body.get("passed") is True and body.get("sha256", sha256) == sha256


def _arrival(gates: Gates, candidate: Candidate) -> list[str]:
    found = []
    if gates.sources and candidate.shown_in.isdisjoint(gates.sources):
        found.append(f"it was never shown by {' or '.join(gates.sources)}")
    held = {
        Cell(tuned.recipe, tuned.version, tuned.python, tuned.target, tuned.backend)
        for tuned in (record.tuned for record in candidate.records if not record.label)
        if tuned is not None
    }
    found += [f"{cell} is required and not there" for cell in sorted(set(gates.required) - held)]
    missing = gates.approvals - len(candidate.approvers)
    if missing > 0:
        others = "another person" if missing == 1 else f"{missing} other people"
        found.append(f"it needs the approval of {others} than the one who moves the channel")
    return found


def _quarantine(candidate: Candidate) -> list[str]:
    return [
        f"{record.filename} is under quarantine: {candidate.quarantined[record.filename]}"
        for record in candidate.records
        if record.filename in candidate.quarantined
    ]


def _evidence(gates: Gates, candidate: Candidate) -> list[str]:
    found = []
    for record in candidate.records:
        if record.tuned is None:
            continue
        verdicts = candidate.evidence.get(record.sha256, {})
        for kind in gates.evidence:
            if kind not in verdicts:
                found.append(f"{record.filename} has no {kind} evidence")
            elif not verdicts[kind]:
                found.append(f"{record.filename}: its {kind} evidence does not say that it passed")
    return found
