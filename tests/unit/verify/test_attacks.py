"""Each attack is refused with its reason, and would pass without the check that refuses it.

An attack gives what stands between the index and its client. ``without`` takes away the checks that are meant to
find it: if the attack is refused nevertheless, or the check is not what refuses it, the test fails.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from armwheels_verify import ledger, statements
from armwheels_verify.errors import RefusedError
from armwheels_verify.judge import Judge
from armwheels_verify.ledger import Found, Ledger, Policy
from armwheels_verify.sources import Fetcher, Source
from armwheels_verify.wanted import Wanted
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.metadata import MetaFile as Meta
from tuf.ngclient import Updater

from builder.index.statements import Report, sealed, verdict
from index_server.catalog.journal import Journal
from index_server.trust.repository import Repository
from index_server.trust.roles import entry_target, expiry, meta_of
from tests.helpers.signed import REPORTS, Recorded, Tampered, judged
from tests.unit.verify.conftest import Place

Patch = pytest.MonkeyPatch
LARGEST = statements.LARGEST
STRANGER = CryptoSigner.generate_ed25519()


def nothing(*_: object, **__: object) -> None:
    """In place of a check."""


@dataclass(frozen=True)
class Attack:
    """An attack, the reason by which it is refused, and what takes the check away."""

    name: str
    reason: str
    prepare: Callable[[Place], tuple[Source, Wanted]]
    without: Callable[[Patch], None]


def first(place: Place) -> Wanted:
    """The wheel that nightly showed in its first move."""
    [found] = [each for _, each in ledger_of(place).all("nightly") if each.filename.startswith("other")]
    return Wanted("other", found.sha256, found.filename)


def ledger_of(place: Place, state: str = "honest") -> Ledger:
    return Ledger(place.index, place.root, place.state(state))


def evidence(place: Place, kind: str = "") -> str:
    return f"api/evidence/{place.wheel.sha256}" + (f"/{kind}" if kind else "")


def signed_by(signed: Any, signer: CryptoSigner) -> bytes:
    document: Metadata[Any] = Metadata(signed)
    document.sign(signer)
    return document.to_bytes()


def newest(place: Place, role: str) -> tuple[int, Any]:
    state = place.index.repository.state()
    assert state is not None
    assert state.timestamp is not None
    assert state.snapshot is not None
    document: Any = {"timestamp": state.timestamp, "snapshot": state.snapshot, **state.delegated}[role]
    return document.signed.version, document.signed


# Metadata


def rollback(place: Place) -> tuple[Source, Wanted]:
    """A mirror shows the metadata of before the last move to a client that has seen the move."""
    old = Recorded(place.index, ["tuf/timestamp.json"])
    place.index.upload(salt="newer", wheel_digest="b" * 64)
    judged(place.index, place.root, place.state(), place.wheel)
    return old, place.wheel


def forget(patch: Patch) -> None:
    def load(*_: object) -> bytes:
        raise OSError

    patch.setattr(Updater, "_load_local_metadata", load)
    patch.setattr(ledger, "goes_on", nothing)


def rewritten(place: Place) -> tuple[Source, Wanted]:
    """Somebody with the store and the server's key replaces an entry that the client has seen, and signs it."""
    judged(place.index, place.root, place.state(), place.wheel)
    store = place.index.store
    last = json.loads(store.get("journal/nightly/2.json"))
    store.remove("journal/nightly/2.json")
    store.create("journal/nightly/2.json", json.dumps({**last, "nonce": "another"}).encode())

    class Careless(Repository):
        def _continued(
            self, journal: Journal[Any], path: str, standing: Targets | None
        ) -> dict[str, TargetFile]:
            serial = journal.serial
            return (
                {path: entry_target(path, store.get(f"journal/{journal.name}/{serial}.json"), serial)}
                if serial
                else {}
            )

    Careless(place.index.catalog, [place.index.people.online]).refresh()
    return place.index, place.wheel


def freeze(place: Place) -> tuple[Source, Wanted]:
    """The same old state is shown for ever."""
    place.index.clock = datetime.now(UTC) - timedelta(days=10)
    place.index.upload(salt="old", wheel_digest="c" * 64)
    version, timestamp = newest(place, "timestamp")
    old = Timestamp(
        version + 1, expires=expiry("timestamp", place.index.now()), snapshot_meta=timestamp.snapshot_meta
    )
    return Tampered(
        place.index, {"tuf/timestamp.json": signed_by(old, place.index.people.online)}
    ), place.wheel


def mix_and_match(place: Place) -> tuple[Source, Wanted]:
    """Documents are shown together that were not signed together: the snapshot has the right version alone."""
    version, snapshot = newest(place, "snapshot")
    older = dict(snapshot.meta)
    number = snapshot.meta["channel-nightly.json"].version - 1
    older["channel-nightly.json"] = meta_of(number, place.index.get(f"tuf/{number}.channel-nightly.json"))
    other = Snapshot(version, expires=snapshot.expires, meta=older)
    signed = signed_by(other, place.index.people.online)
    return Tampered(place.index, {f"tuf/{version}.snapshot.json": signed}), first(place)


def wrong_key(place: Place) -> tuple[Source, Wanted]:
    """A stranger signs the timestamp."""
    version, timestamp = newest(place, "timestamp")
    forged = Timestamp(version + 1, expires=timestamp.expires, snapshot_meta=timestamp.snapshot_meta)
    return Tampered(place.index, {"tuf/timestamp.json": signed_by(forged, STRANGER)}), place.wheel


def one_of_two(place: Place) -> tuple[Source, Wanted]:
    """One of the people who sign the root makes a new one alone, with a key of his own for the server."""
    alone = place.index.people.roots[0]
    root = Metadata[Root].from_bytes(place.root).signed
    root.version = 2
    root.add_key(STRANGER.public_key, "timestamp")
    version, timestamp = newest(place, "timestamp")
    forged = Timestamp(version + 1, expires=timestamp.expires, snapshot_meta=timestamp.snapshot_meta)
    changes = {"tuf/2.root.json": signed_by(root, alone), "tuf/timestamp.json": signed_by(forged, STRANGER)}
    return Tampered(place.index, changes), place.wheel


def unsigned(patch: Patch) -> None:
    for kind in (Root, Targets):
        patch.setattr(kind, "verify_delegate", nothing)


def long_timestamp(place: Place) -> tuple[Source, Wanted]:
    """A document that is longer than its role allows."""
    return Tampered(place.index, {"tuf/timestamp.json": lambda data: data + b" " * 20_000}), place.wheel


def unlimited(patch: Patch) -> None:
    patch.setattr(Fetcher, "download_bytes", lambda self, url, _: b"".join(self.fetch(url)))


# Journals, snapshots, shards


def truncated(place: Place) -> tuple[Source, Wanted]:
    """A mirror leaves the last entry of a journal away."""
    changes = {"tuf/journal/nightly/1-2": lambda data: data.splitlines()[0] + b"\n"}
    return Tampered(place.index, changes), first(place)


def without_length(patch: Patch) -> None:
    patch.setattr(ledger, "is_complete", nothing)
    patch.setattr(ledger, "ends_as_signed", nothing)


def hidden_quarantine(place: Place) -> tuple[Source, Wanted]:
    """A mirror leaves away that a file was put under quarantine."""
    mark = {"kind": "quarantine", "filename": place.wheel.filename, "reason": "harmful", "nonce": "q"}
    place.index.post("/api/status", mark)
    return Tampered(place.index, {"tuf/journal/status/1-1": b""}), place.wheel


def changed_entry(place: Place) -> tuple[Source, Wanted]:
    """An entry in the middle of a journal is replaced."""

    def change(data: bytes) -> bytes:
        one, two = data.splitlines()
        return json.dumps({**json.loads(one), "by": "somebody else"}).encode() + b"\n" + two + b"\n"

    return Tampered(place.index, {"tuf/journal/nightly/1-2": change}), place.wheel


def changed_last(place: Place) -> tuple[Source, Wanted]:
    """The last entry of a journal is replaced."""

    def change(data: bytes) -> bytes:
        one, two = data.splitlines()
        return one + b"\n" + json.dumps({**json.loads(two), "by": "somebody else"}).encode() + b"\n"

    return Tampered(place.index, {"tuf/journal/nightly/1-2": change}), place.wheel


def forged_shard(place: Place) -> tuple[Source, Wanted]:
    """A wheel is added to a snapshot."""
    entry = ledger_of(place).journals["nightly"][-1]
    shard = ledger_of(place).projects(entry)["demo"]
    forged = "f" * 64

    def change(data: bytes) -> bytes:
        return data.replace(place.wheel.sha256.encode(), forged.encode())

    changes: dict[str, Any] = {f"tuf/shards/{shard}.json": change}
    for kind in ("audit", "emulation"):
        made = verdict(place.wheel.filename, forged, Report(kind=kind, body=REPORTS[kind]))
        changes[f"api/evidence/{forged}/statement-{kind}"] = json.dumps(
            sealed(made, place.index.people.builder)
        ).encode()
    changes[f"api/evidence/{forged}"] = b'{"kinds": ["statement-audit", "statement-emulation"]}'
    source = Tampered(place.index, changes)
    return source, Wanted("demo", forged, place.wheel.filename)


def unhashed(patch: Patch) -> None:
    patch.setattr(ledger, "has_hash", nothing)
    require_nothing(patch)


# Wheels and statements


def swapped_wheel(place: Place) -> tuple[Source, Wanted]:
    """Other bytes lie under the name of a published wheel."""
    return place.index, dataclasses.replace(place.wheel, sha256="e" * 64)


def by_name_alone(patch: Patch) -> None:
    def found(self: Judge, wanted: Wanted) -> Found | None:
        return self._ledger.other(wanted.project, wanted.filename, self._channels)

    patch.setattr(Judge, "_found", found)


def strange_statement(place: Place) -> tuple[Source, Wanted]:
    """A statement is signed by a key that no policy names."""
    made = verdict(place.wheel.filename, place.wheel.sha256, Report(kind="audit", body=REPORTS["audit"]))
    place.index.put(place.wheel.sha256, "statement-audit", sealed(made, STRANGER))
    return place.index, place.wheel


def any_key(patch: Patch) -> None:
    patch.setattr(statements, "signed_by", lambda _, keys: keys[0].keyid)


def expired_key(place: Place) -> tuple[Source, Wanted]:
    """A wheel is uploaded with statements of a key that ended before."""
    people = place.index.people
    place.index.rotate(people.targets, ended=[people.builder.public_key.keyid])
    filename, sha256 = place.index.upload(salt="late", wheel_digest="d" * 64)
    return place.index, Wanted("demo", sha256, filename)


def of_another_wheel(place: Place) -> tuple[Source, Wanted]:
    """The audit of another wheel is shown as this wheel's."""
    other = place.index.get(f"api/evidence/{first(place).sha256}/statement-audit")
    return Tampered(place.index, {evidence(place, "statement-audit"): other}), place.wheel


def of_another_check(place: Place) -> tuple[Source, Wanted]:
    """The emulation's verdict is shown as the audit's."""
    other = place.index.get(evidence(place, "statement-emulation"))
    return Tampered(place.index, {evidence(place, "statement-audit"): other}), place.wheel


def of_any_check(patch: Patch) -> None:
    patch.setattr(statements, "is_of_kind", nothing)
    patch.setattr(statements, "is_of_report", nothing)


def swapped_report(place: Place) -> tuple[Source, Wanted]:
    """Another report is shown beside a signed verdict."""
    return Tampered(place.index, {evidence(place, "audit"): b'{"passed": true, "verdicts": []}'}), place.wheel


def changed_statement(place: Place) -> tuple[Source, Wanted]:
    """A statement that says that the check failed is changed to say that it passed."""
    failed = verdict(place.wheel.filename, place.wheel.sha256, Report(kind="audit", body={"passed": False}))
    envelope = sealed(failed, place.index.people.builder)
    passed = verdict(place.wheel.filename, place.wheel.sha256, Report(kind="audit", body=REPORTS["audit"]))
    envelope["payload"] = sealed(passed, STRANGER)["payload"]
    place.index.put(place.wheel.sha256, "statement-audit", envelope)
    return place.index, place.wheel


def withheld(place: Place) -> tuple[Source, Wanted]:
    """The statement about a check is not shown."""
    kinds = b'{"kinds": ["audit", "emulation", "statement-emulation", "statement-provenance"]}'
    return Tampered(place.index, {evidence(place): kinds}), place.wheel


def require_nothing(patch: Patch) -> None:
    policy = Ledger._policy

    def lenient(self: Ledger) -> Policy:
        return dataclasses.replace(policy(self), required=())

    patch.setattr(Ledger, "_policy", lenient)


def long_statement(place: Place) -> tuple[Source, Wanted]:
    """A statement is followed by more bytes than anybody would read."""
    changes = {evidence(place, "statement-audit"): lambda data: data + b" " * (LARGEST + 1)}
    return Tampered(place.index, changes), place.wheel


ATTACKS = (
    Attack("rollback", "rollback", rollback, forget),
    Attack(
        "rewritten history", "rewritten", rewritten, lambda patch: patch.setattr(ledger, "goes_on", nothing)
    ),
    Attack("freeze", "freeze", freeze, lambda patch: patch.setattr(Signed, "is_expired", lambda *_: False)),
    Attack(
        "mix-and-match",
        "mix-and-match",
        mix_and_match,
        lambda patch: patch.setattr(Meta, "verify_length_and_hashes", nothing),
    ),
    Attack("wrong key of the metadata", "not signed by enough keys", wrong_key, unsigned),
    Attack("too few root signatures", "not signed by enough keys", one_of_two, unsigned),
    Attack("endless metadata", "endless data", long_timestamp, unlimited),
    Attack("truncated journal", "truncated", truncated, without_length),
    Attack("hidden quarantine", "truncated", hidden_quarantine, without_length),
    Attack(
        "changed entry",
        "does not follow",
        changed_entry,
        lambda patch: patch.setattr(ledger, "continues", lambda *_: True),
    ),
    Attack(
        "changed last entry",
        "not the one that was signed",
        changed_last,
        lambda patch: patch.setattr(ledger, "ends_as_signed", nothing),
    ),
    Attack("forged shard", "was changed", forged_shard, unhashed),
    Attack("swapped wheel", "another file has this name", swapped_wheel, by_name_alone),
    Attack("wrong key of a statement", "no builder of the policy", strange_statement, any_key),
    Attack("changed statement", "no builder of the policy", changed_statement, any_key),
    Attack(
        "expired key", "expired key", expired_key, lambda patch: patch.setattr(statements, "in_time", nothing)
    ),
    Attack(
        "evidence of another wheel",
        "about another file",
        of_another_wheel,
        lambda patch: patch.setattr(statements, "is_about", nothing),
    ),
    Attack("evidence of another check", "about the check 'emulation'", of_another_check, of_any_check),
    Attack(
        "swapped report",
        "swapped evidence",
        swapped_report,
        lambda patch: patch.setattr(statements, "is_of_report", nothing),
    ),
    Attack("withheld evidence", "audit: the statement is missing", withheld, require_nothing),
    Attack(
        "endless evidence",
        "endless data",
        long_statement,
        lambda patch: patch.setattr(statements, "LARGEST", 1 << 40),
    ),
)


def outcome(place: Place, source: Source, wanted: Wanted) -> str:
    """Why a file is refused; empty if it holds."""
    try:
        [judgement] = judged(source, place.root, place.state(), wanted)
    except RefusedError as error:
        return str(error)
    return "; ".join(judgement.reasons)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused_with_its_reason(place: Place, attack: Attack) -> None:
    source, wanted = attack.prepare(place)
    assert attack.reason in outcome(place, source, wanted)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_without_its_check_the_attack_would_pass(place: Place, attack: Attack, monkeypatch: Patch) -> None:
    source, wanted = attack.prepare(place)
    attack.without(monkeypatch)
    assert outcome(place, source, wanted) == ""


def test_data_without_end_ends(place: Place) -> None:
    def endless(_: bytes) -> Iterator[bytes]:
        while True:
            yield b" " * (1 << 16)

    for path in ("tuf/timestamp.json", "tuf/journal/nightly/1-2", evidence(place), evidence(place, "audit")):
        source = Tampered(place.index, {path: endless})
        assert "endless data" in outcome(place, source, place.wheel), path


def test_a_key_that_ended_still_counts_for_what_was_uploaded_before(place: Place) -> None:
    people = place.index.people
    place.index.rotate(people.targets, ended=[people.builder.public_key.keyid])
    assert outcome(place, place.index, place.wheel) == ""


def test_the_failed_verdict_of_a_builder_is_refused(place: Place) -> None:
    failed = verdict(place.wheel.filename, place.wheel.sha256, Report(kind="audit", body={"passed": False}))
    place.index.put(place.wheel.sha256, "statement-audit", sealed(failed, place.index.people.builder))
    assert "ended with FAILED" in outcome(place, place.index, place.wheel)


def test_a_quarantine_is_told(place: Place) -> None:
    mark = {"kind": "quarantine", "filename": place.wheel.filename, "reason": "harmful", "nonce": "q"}
    place.index.post("/api/status", mark)
    assert outcome(place, place.index, place.wheel) == "it is under quarantine: harmful"
