"""The certificates that this machine trusts, as a Java program reads them: Bazel downloads with no others."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.utils import CryptographyDeprecationWarning

PASSWORD = "changeit"  # noqa: S105 - no secret
"""What Java's own trust stores have; it keeps nothing secret, since certificates are public."""


def trusted_certificates() -> list[x509.Certificate]:
    """What OpenSSL trusts on this machine (``SSL_CERT_FILE``, ``SSL_CERT_DIR``, else its own places); certifi's
    collection where it trusts nothing.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        files = [Path(paths.cafile)]
    else:
        # Named by the hash of the subject, as c_rehash(1) does; other names in there are the same ones again.
        files = sorted(Path(paths.capath).glob("*.[0-9]")) if paths.capath else []
    bundles = [path.read_bytes() for path in files or [Path(certifi.where())]]
    with warnings.catch_warnings():
        # Some authorities' certificates break RFC 5280; to trust them or not is the machine's affair.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        found = [one for bundle in bundles for one in x509.load_pem_x509_certificates(bundle)]
    return list(dict.fromkeys(found))


def write_truststore(path: Path) -> Path:
    """Write them as a PKCS #12 file whose entries Java takes as trusted (RFC 7292; JDK, "PKCS12 KeyStore")."""
    entries = [
        pkcs12.PKCS12Certificate(one, one.fingerprint(hashes.SHA256()).hex().encode())
        for one in trusted_certificates()
    ]
    path.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(PASSWORD.encode())))
    return path
