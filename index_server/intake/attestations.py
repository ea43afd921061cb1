"""Checks the attestations that come with an upload (:pep:`740`), and makes the provenance object of them.

Checked of each: its form; that its certificate's key signed its statement (DSSE); that the statement is an in-toto
Statement v1 about this file alone, by name and sha256; that its predicate is one that PyPI takes, each once. Where
the operator names authorities, the certificate must be issued by one of them.

Not checked: the transparency log. Its entries must be there and are kept, so that clients can check them with
Sigstore. Without authorities the signature shows that whoever has the certificate's key made the statement, and not
who that is.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index_server.errors import ConfigError
from index_server.reasons import Reasons

FIELD = "attestations"
LARGEST = 1 << 20  # bytes of the form field
MOST = 4  # attestations of one file
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PUBLISH = "https://docs.pypi.org/attestations/publish/v1"
PREDICATES = (PUBLISH, "https://slsa.dev/provenance/v1")
MEDIA = "application/vnd.pypi.integrity.v1+json"  # as PyPI's Integrity API sends it


class _Loose(BaseModel):
    """PEP 740: signers may add keys."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class _Material(_Loose):
    certificate: str
    transparency_entries: Annotated[list[dict[str, Any]], Field(min_length=1)]


class _Envelope(_Loose):
    statement: str
    signature: str


class _Attestation(_Loose):
    version: Literal[1]
    verification_material: _Material
    envelope: _Envelope


class _Subject(_Loose):
    name: str
    digest: dict[str, str]


class _Statement(_Loose):
    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: list[_Subject]
    predicateType: str  # noqa: N815 - as in-toto spells it
    predicate: dict[str, Any] | None = None


class Attested:
    """What came of the attestations of an upload: the provenance object, or faults."""

    def __init__(self) -> None:
        self.faults = Reasons()
        self.provenance: bytes | None = None


def examine_attestations(
    text: str | None, *, filename: str, sha256: str, by: str, authorities: Sequence[x509.Certificate] = ()
) -> Attested:
    """Check the form field of an upload by ``by``. Without the field there is nothing to say."""
    attested = Attested()
    if text is None:
        return attested
    faults = attested.faults
    if len(text) > LARGEST:
        faults.append(f"the attestations are longer than {LARGEST} bytes")
        return attested
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        faults.append(f"the attestations are not JSON: {error}")
        return attested
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST:
        faults.append(f"the attestations are no JSON array of 1 to {MOST} objects (PEP 740)")
        return attested
    predicates: list[str] = []
    for number, each in enumerate(listed, 1):
        found, predicate = _faults(each, filename, sha256, authorities)
        faults += [f"attestation {number}: {fault}" for fault in found]
        if predicate in predicates:
            faults.append(f"attestation {number}: the file has two of the type {predicate}")
        if predicate is not None:
            predicates.append(predicate)
    if not faults:
        # PEP 740: the publisher has a kind, and claims that the index verified. A token has none.
        publisher = {"kind": "token", "claims": None, "name": by}
        bundle = {"publisher": publisher, "attestations": listed}
        document = {"version": 1, "attestation_bundles": [bundle]}
        attested.provenance = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return attested


def read_authorities(pem: bytes) -> list[x509.Certificate]:
    """The authorities in a PEM file.

    Raises:
        ConfigError: the file holds no certificate.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError(f"the file of authorities holds no certificates in PEM form: {error}") from error


def _faults(
    each: object, filename: str, sha256: str, authorities: Sequence[x509.Certificate]
) -> tuple[list[str], str | None]:
    """All faults of one attestation, and the type of its predicate."""
    try:
        attestation = _Attestation.model_validate(each)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in error.errors()[:8]
        ], None
    statement, faults = _decoded(attestation.envelope.statement, "envelope.statement")
    signature, unsigned = _decoded(attestation.envelope.signature, "envelope.signature")
    der, uncertain = _decoded(
        attestation.verification_material.certificate, "verification_material.certificate"
    )
    faults += unsigned + uncertain
    if der and signature:
        faults += _signature_faults(der, statement, signature, authorities)
    about, predicate = _statement_faults(statement, filename, sha256) if statement else ([], None)
    return faults + about, predicate


def _decoded(text: str, what: str) -> tuple[bytes, list[str]]:
    try:
        return base64.b64decode(text, validate=True), []
    except (binascii.Error, ValueError) as error:
        return b"", [f"{what} is not base64: {error}"]


def _statement_faults(data: bytes, filename: str, sha256: str) -> tuple[list[str], str | None]:
    try:
        statement = _Statement.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        return [
            f"its statement is not of {STATEMENT}: {'.'.join(map(str, fault['loc']))} {fault['msg']}"
        ], None
    faults = []
    if len(statement.subject) != 1:
        faults.append(f"its statement has {len(statement.subject)} subjects, not one")
    for subject in statement.subject[:1]:
        if subject.name != filename:
            faults.append(f"its subject is {subject.name[:200]!a}, not {filename}")
        digest = subject.digest.get("sha256")
        if digest != sha256:
            faults.append(f"its subject has the sha256 {str(digest)[:64]!a}, and the file has {sha256}")
    if statement.predicateType not in PREDICATES:
        faults.append(
            f"its predicate is {statement.predicateType[:200]!a}; accepted are {', '.join(PREDICATES)}"
        )
    if statement.predicateType == PUBLISH and statement.predicate:
        faults.append(f"the predicate of {PUBLISH} must be empty")
    return faults, statement.predicateType


def _signature_faults(
    der: bytes, statement: bytes, signature: bytes, authorities: Sequence[x509.Certificate]
) -> list[str]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        return [f"its certificate cannot be read: {error}"]
    # DSSE 1.0: the signature is of the type and the payload, each with its length.
    signed = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD), PAYLOAD.encode(), len(statement), statement)
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, signed, ec.ECDSA(_hash_of(key)))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, signed)
            case rsa.RSAPublicKey():
                key.verify(signature, signed, padding.PKCS1v15(), SHA256())
            case _:
                return [f"its certificate has a key of a kind that is not known: {type(key).__name__}"]
    except InvalidSignature:
        return ["the key of its certificate did not sign its statement"]
    return _chain_faults(certificate, authorities) if authorities else []


def _hash_of(key: ec.EllipticCurvePublicKey) -> HashAlgorithm:
    return {256: SHA256(), 384: SHA384(), 521: SHA512()}.get(key.key_size, SHA256())


def _chain_faults(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> list[str]:
    """Whether an authority issued a certificate, and was valid when it did.

    Certificates of Sigstore live for ten minutes. Only the transparency log can tell when the statement was signed.
    """
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        if _valid_at(authority, certificate.not_valid_before_utc):
            return []
    return ["none of the index's authorities issued its certificate"]


def _valid_at(authority: x509.Certificate, moment: datetime) -> bool:
    try:
        basic = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return basic.ca and authority.not_valid_before_utc <= moment <= authority.not_valid_after_utc
