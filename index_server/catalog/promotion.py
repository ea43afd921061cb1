"""Collects the facts that a channel's gates check about a snapshot, and applies the gates."""

from __future__ import annotations

from index_server.catalog.catalog import Catalog
from index_server.errors import GateError
from index_server.model import Judgement
from index_server.names import person
from index_server.rules.gates import Candidate, Gates, reasons
from index_server.store.objects import keys


def judge(
    catalog: Catalog,
    gates: Gates | None,
    channel: str,
    snapshot_id: str,
    *,
    by: str,
    token: str,
    counted_on: tuple[str, ...] = (),
) -> Judgement | None:
    """Apply the gates of a channel to a snapshot; None if the channel has no gates and no approver is named.

    ``by`` and ``token`` are the name and the token id of the mover, whose own approval does not count.

    Raises:
        GateError: the gates refuse the snapshot; the error has every reason.
    """
    if gates is None:
        if not counted_on:
            return None
        gates = Gates()
    records = list(catalog.snapshot_records(catalog.find_snapshot(snapshot_id)))
    tuned = {record.sha256: record.project for record in records if record.tuned}
    found = catalog.evidence.verdicts(tuned, gates.evidence)
    shown_in = frozenset(
        name
        for name in catalog.channels
        if any(move is not None and move.snapshot == snapshot_id for move in catalog.journal(name).readable())
    )
    revoked = list(keys(catalog.store, "revocations/"))  # named by the hash that a token's id begins
    approvals = tuple(
        approval
        for approval in catalog.approvals(channel, snapshot_id)
        if approval.token != token
        and person(approval.by) != person(by)
        and not any(key.startswith(f"revocations/{approval.token}") for key in revoked)
    )
    marks = catalog.status.marks()
    held = {
        record.filename: marks.of(record.project).quarantine_reason(record.filename) for record in records
    }
    candidate = Candidate(
        records=records,
        shown_in=shown_in,
        returning=channel in shown_in,
        quarantined={name: reason for name, reason in held.items() if reason is not None},
        evidence={sha: {kind: good for kind, (_, good) in kinds.items()} for sha, kinds in found.items()},
        approvers=frozenset(person(approval.by) for approval in approvals),
    )
    shut = reasons(gates, candidate)
    shut += tuple(
        f"{name} has not approved it" for name in counted_on if person(name) not in candidate.approvers
    )
    if shut:
        raise GateError(*shut, channel=channel, snapshot=snapshot_id)
    return Judgement(
        channel=channel,
        snapshot=snapshot_id,
        returning=candidate.returning,
        approvals=approvals,
        evidence={
            sha: {kind: number for kind, (number, _) in kinds.items()}
            for sha, kinds in sorted(found.items())
            if kinds
        },
    )
