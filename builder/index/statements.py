"""Statements about a published wheel: who built it of what, and what its checks found.

Each is an in-toto Statement v1 in a DSSE envelope, signed by the builder's key. Provenance has the predicate of
SLSA v1. The verdict of a check has the predicate test-result v0.1, and the sha256 of the report that it sums up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer

from builder.model.base import Frozen

PAYLOAD = "application/vnd.in-toto+json"
PROVENANCE = "https://slsa.dev/provenance/v1"
RESULT = "https://in-toto.io/attestation/test-result/v0.1"
BUILD_TYPE = "urn:armwheels:build:1"
PREFIX = "statement-"
"""Of the kind of evidence under which a statement is published: ``statement-audit`` beside ``audit``."""


class Report(Frozen):
    """A report as it is published: its kind and its JSON."""

    kind: str
    body: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Of the report as JSON with sorted keys and without spaces, which no server changes."""
        text = json.dumps(self.body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def provenance(filename: str, sha256: str, passport: Mapping[str, Any]) -> bytes:
    """The statement of SLSA v1 about a wheel, from its passport.

    It states no times: the passport has none, so that the same inputs give the same wheel.
    """
    named = ("recipe", "version", "python", "target", "backend")
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {name: passport[name] for name in named},
            "internalParameters": {
                "compiler": passport["compiler"],
                "flags": passport["flags"],
                "glibc_floor": passport["glibc_floor"],
                "source_date_epoch": passport["source_date_epoch"],
                "digests": passport["digests"],
            },
            "resolvedDependencies": list(_materials(passport)),
        },
        "runDetails": {
            "builder": {"id": "urn:armwheels:builder:1"},
            "metadata": {"invocationId": passport["build"]},
        },
    }
    return _statement(filename, sha256, PROVENANCE, predicate)


def verdict(filename: str, sha256: str, report: Report) -> bytes:
    """The statement about a check of a wheel."""
    predicate = {
        "result": "PASSED" if report.body.get("passed") is True else "FAILED",
        "configuration": [{"name": report.kind, "digest": {"sha256": report.sha256}}],
    }
    return _statement(filename, sha256, RESULT, predicate)


def sealed(statement: bytes, signer: Signer) -> dict[str, Any]:
    """A statement in a signed envelope (DSSE 1.0), as JSON."""
    envelope = Envelope(statement, PAYLOAD, {})
    envelope.sign(signer)
    made: dict[str, Any] = envelope.to_dict()
    return made


def is_sealed(envelope: Mapping[str, Any], statement: bytes, keyid: str) -> bool:
    """Whether an envelope holds this statement, with a signature of this key."""
    try:
        found = Envelope.from_dict(json.loads(json.dumps(envelope)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return found.payload == statement and keyid in found.signatures


def _statement(filename: str, sha256: str, predicate_type: str, predicate: dict[str, Any]) -> bytes:
    subject = ResourceDescriptor(name=filename, digest={"sha256": sha256})
    statement = Statement([subject.pb], predicate_type, predicate)
    statement.validate()
    return json.dumps(MessageToDict(statement.pb), sort_keys=True).encode()


def _materials(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The source, the libraries and the tools that went into a wheel, with their digests."""
    source = passport["source"]
    yield {"name": "source", "uri": _uri(source), "digest": {"sha256": source["sha256"]}}
    for kind in ("dependencies", "toolchain"):
        for each in passport[kind]:
            version = each.get("version", "")
            yield {"name": f"{kind}/{each['name']} {version}".rstrip(), "digest": {"sha256": each["sha256"]}}


def _uri(source: Mapping[str, Any]) -> str:
    """Where the source is from; a name without a scheme stands for a file of the machine's package index."""
    origin = str(source["origin"])
    return origin if ":" in origin else f"urn:armwheels:source:{source['kind']}:{origin}"
