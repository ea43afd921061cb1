"""The certificates that this machine trusts, in the format of Java, for Bazel's downloads."""

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
"""The password of Java's own trust stores. It protects nothing: certificates are public."""


def trusted_certificates() -> list[x509.Certificate]:
    """The certificates that OpenSSL trusts on this machine, else those of certifi.

    OpenSSL reads ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` and its own default paths.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        files = [Path(paths.cafile)]
    else:
        # c_rehash(1) names files by the hash of the subject; other names are links to the same certificates.
        files = sorted(Path(paths.capath).glob("*.[0-9]")) if paths.capath else []
    bundles = [path.read_bytes() for path in files or [Path(certifi.where())]]
    with warnings.catch_warnings():
        # Some authorities' certificates break RFC 5280; the machine decides whether to trust them.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        found = [one for bundle in bundles for one in x509.load_pem_x509_certificates(bundle)]
    return list(dict.fromkeys(found))


def write_truststore(path: Path) -> Path:
    """Write a PKCS #12 file with entries that Java trusts (RFC 7292; JDK documentation, "PKCS12 KeyStore")."""
    entries = [
        pkcs12.PKCS12Certificate(one, one.fingerprint(hashes.SHA256()).hex().encode())
        for one in trusted_certificates()
    ]
    path.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(PASSWORD.encode())))
    return path
