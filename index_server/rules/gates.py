"""What a snapshot must have before a channel may point at it. Pure; all reasons come together.

A channel names its gates in ``channels.toml``. A snapshot that the channel has shown before passed them then: on
its way back only what may have been found out since is asked, evidence and quarantine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from index_server.model import Record


@dataclass(frozen=True, order=True)
class Cell:
    """A wheel that must be there; spelled as the builder spells its build."""

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

    sources: tuple[str, ...] = ()  # channels, one of which must have shown the snapshot; () asks for none
    required: tuple[Cell, ...] = ()
    evidence: tuple[str, ...] = ()  # kinds that every wheel with a passport needs, and needs to have passed
    approvals: int = 0  # by others than the mover


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A snapshot and all that gates ask about it."""

    records: Sequence[Record]
    shown_in: frozenset[str]  # the channels that point at it or did
    returning: bool  # the channel asked for is one of them
    quarantined: Mapping[str, str]  # file name -> why
    evidence: Mapping[str, Mapping[str, bool]]  # sha256 -> kind -> whether the newest says that it passed
    approvers: frozenset[str]  # names of those who approved, without the mover


def reasons(gates: Gates, candidate: Candidate) -> tuple[str, ...]:
    """Why the gates are shut; empty where they are open."""
    found = _quarantine(candidate) + _evidence(gates, candidate)
    if not candidate.returning:
        found = _arrival(gates, candidate) + found
    return tuple(found)


def passed(body: object, sha256: str) -> bool:
    """Whether evidence says that the file passed; a report that names another file says nothing of this one."""
    return isinstance(body, dict) and body.get("passed") is True and body.get("sha256", sha256) == sha256


def _arrival(gates: Gates, candidate: Candidate) -> list[str]:
    found = []
    if gates.sources and candidate.shown_in.isdisjoint(gates.sources):
        found.append(f"it was never shown by {' or '.join(gates.sources)}")
    held = {
        Cell(tuned.recipe, tuned.version, tuned.python, tuned.target, tuned.backend)
        for tuned in (record.tuned for record in candidate.records)
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
