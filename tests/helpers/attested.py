"""Attestations (PEP 740) with certificates of an authority that a test makes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

PUBLISH = "https://docs.pypi.org/attestations/publish/v1"
SLSA = "https://slsa.dev/provenance/v1"
PAYLOAD = b"application/vnd.in-toto+json"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """An authority that issues certificates which live for ten minutes, as Sigstore's do."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(
        cls, name: str = "authority", *, ca: bool = True, age: timedelta = timedelta(days=1)
    ) -> Authority:
        key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name))
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - age)
            .not_valid_after(now - age + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(key, SHA256())
        )
        return cls(key, certificate)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
        """A key, and its certificate in DER form."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name("signer"))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(2)
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(minutes=9))
            .sign(self.key, SHA256())
        )
        return key, certificate.public_bytes(Encoding.DER)

    def attest(
        self, filename: str, sha256: str, predicate_type: str = PUBLISH, **changed: Any
    ) -> dict[str, Any]:
        """An attestation of a file; ``changed`` replaces parts of its statement before it is signed."""
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": filename, "digest": {"sha256": sha256}}],
            "predicateType": predicate_type,
            "predicate": None if predicate_type == PUBLISH else {"buildDefinition": {}, "runDetails": {}},
            **changed,
        }
        key, certificate = self.issue()
        payload = json.dumps(statement).encode()
        signed = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD), PAYLOAD, len(payload), payload)
        return {
            "version": 1,
            "verification_material": {
                "certificate": base64.b64encode(certificate).decode(),
                "transparency_entries": [{"logIndex": "1"}],
            },
            "envelope": {
                "statement": base64.b64encode(payload).decode(),
                "signature": base64.b64encode(key.sign(signed, ec.ECDSA(SHA256()))).decode(),
            },
        }
