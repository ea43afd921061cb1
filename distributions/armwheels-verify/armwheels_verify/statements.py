"""Signed statements about one wheel: who built it, and what its checks found (in-toto, DSSE).

A statement holds if a builder of the policy signed it, if its subject is this file, if it is of the kind that it is
given for, and if it says that the check passed. A report that the index serves beside it must be the one whose
hash it states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key

from armwheels_verify.errors import RefusedError
from armwheels_verify.ledger import Builder, Found, Policy
from armwheels_verify.sources import Source, read

PREFIX = "statement-"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
RESULT = "https://in-toto.io/attestation/test-result/v0.1"
LARGEST = 16 << 20  # bytes of a statement or report
MOST = 64  # kinds of evidence about one file


@dataclass(frozen=True)
class Statement:
    """A statement of which every check passed; ``says`` is what it says in a few words."""

    kind: str
    builder: str
    says: str


def statements(source: Source, found: Found, policy: Policy) -> tuple[list[Statement], list[str]]:
    """The statements about a file that hold, and the reasons why others do not."""
    holding, refused = [], []
    for kind in _kinds(source, found):
        try:
            holding.append(_check(source, found, policy, kind))
        except RefusedError as error:
            refused.append(f"{kind}: {error}")
    return holding, refused


def _kinds(source: Source, found: Found) -> list[str]:
    try:
        document = json.loads(read(source, f"api/evidence/{found.sha256}", LARGEST))
        kinds = [str(kind) for kind in document["kinds"]][:MOST]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"the list of evidence cannot be read: {error}") from error
    return sorted(kind.removeprefix(PREFIX) for kind in kinds if kind.startswith(PREFIX))


def _check(source: Source, found: Found, policy: Policy, kind: str) -> Statement:
    try:
        data = read(source, f"api/evidence/{found.sha256}/{PREFIX}{kind}", LARGEST)
    except FileNotFoundError:
        raise RefusedError("the index lists the statement and does not have it") from None
    payload, builder = _opened(data, policy)
    in_time(found, policy.builders[builder])
    try:
        return _read(source, found, kind, builder, json.loads(payload))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RefusedError(f"it is no in-toto statement of this kind: {error!r}") from error


def _opened(data: bytes, policy: Policy) -> tuple[bytes, str]:
    """The payload of an envelope, and the key that signed it."""
    try:
        envelope = Envelope.from_dict(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"it is no DSSE envelope: {error!r}") from error
    if envelope.payload_type != PAYLOAD:
        raise RefusedError(f"its type is {envelope.payload_type!r}, not {PAYLOAD}")
    keys = [Key.from_dict(each.keyid, json.loads(json.dumps(each.key))) for each in policy.builders.values()]
    if not keys:
        raise RefusedError("the policy names no builder whose statements are believed")
    return envelope.payload, signed_by(envelope, keys)


def signed_by(envelope: Envelope, keys: list[Key]) -> str:
    """The key of a builder that signed an envelope."""
    try:
        [builder] = envelope.verify(keys, 1)
    except VerificationError as error:
        raise RefusedError("no builder of the policy signed it: wrong key, or changed since") from error
    return builder


def in_time(found: Found, builder: Builder) -> None:
    """Check that the file was uploaded while its builder's key was believed."""
    if builder.until is not None and found.uploaded_at > builder.until:
        raise RefusedError(
            f"the key {builder.keyid[:8]} ended on {builder.until}, before the file was uploaded: expired key"
        )


def _read(source: Source, found: Found, kind: str, builder: str, statement: Mapping[str, Any]) -> Statement:
    if statement["_type"] != STATEMENT:
        raise RefusedError(f"its type is {statement['_type']!r}, not {STATEMENT}")
    is_about(found, statement)
    predicate = statement["predicate"]
    is_of_kind(kind, statement)
    if kind == "provenance":
        return Statement(kind, builder, str(predicate["runDetails"]["builder"]["id"]))
    if predicate["result"] != "PASSED":
        raise RefusedError(f"it says that the check ended with {predicate['result']}")
    is_of_report(source, found, kind, predicate["configuration"][0]["digest"]["sha256"])
    return Statement(kind, builder, "passed")


def is_about(found: Found, statement: Mapping[str, Any]) -> None:
    """Check that a statement's subject is this file."""
    subjects = {(subject["name"], subject["digest"]["sha256"]) for subject in statement["subject"]}
    if (found.filename, found.sha256) not in subjects:
        named = ", ".join(f"{name} ({sha256[:16]}…)" for name, sha256 in sorted(subjects))
        raise RefusedError(f"it is about another file: {named}")


def is_of_kind(kind: str, statement: Mapping[str, Any]) -> None:
    """Check that a statement is what it is given for: the audit's is not the emulation's."""
    wanted = PROVENANCE if kind == "provenance" else RESULT
    if statement["predicateType"] != wanted:
        raise RefusedError(f"it states {statement['predicateType']}, not {wanted}")
    if wanted == RESULT and statement["predicate"]["configuration"][0]["name"] != kind:
        raise RefusedError(f"it is about the check {statement['predicate']['configuration'][0]['name']!r}")


def is_of_report(source: Source, found: Found, kind: str, sha256: str) -> None:
    """Check that the report that the index serves is the one that was signed. It may be absent."""
    try:
        report = json.loads(read(source, f"api/evidence/{found.sha256}/{kind}", LARGEST))
    except FileNotFoundError:
        return
    if hashlib.sha256(canonical(report)).hexdigest() != sha256:
        raise RefusedError(
            "the report that the index serves is not the one that was signed: swapped evidence"
        )


def canonical(report: object) -> bytes:
    """The bytes of a report that are hashed: JSON with sorted keys, without spaces."""
    return json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
