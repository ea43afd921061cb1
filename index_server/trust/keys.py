"""Keys that sign: a JSON file with the public key and the URI of the private one.

The file is what securesystemslib writes of a public key, with ``keyid`` and ``signer`` added. ``signer`` is a URI
of securesystemslib: ``file2:NAME.pem`` for a file beside this one, ``hsm:2`` for PKCS#11, ``awskms:``,
``gcpkms:``, ``azurekms:`` or ``hv:`` for a key service. The JSON file holds no secret.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, Signer, SSlibKey

from index_server.errors import ConfigError
from index_server.settings import KEY_PIN

FILE = "file2:"


def new_key(path: Path) -> Key:
    """Make an Ed25519 key: ``path`` with the public key, and the private one beside it as ``.pem``, mode 0600.

    Raises:
        ConfigError: one of the files exists, or cannot be written.
    """
    signer = CryptoSigner.generate_ed25519()
    private = path.with_suffix(".pem")
    if path.exists() or private == path:
        raise ConfigError(f"{path} exists, or ends in .pem; a key is never replaced, so choose another name")
    _write(private, signer.private_bytes, 0o600)
    _write(path, _encoded(signer.public_key, f"{FILE}{private.name}"), 0o644)
    return signer.public_key


def held_elsewhere(path: Path, uri: str, public: Path) -> Key:
    """Write the file of a key whose private part a token or a key service holds; ``public`` is its PEM file.

    Raises:
        ConfigError: the URI or the PEM file is not valid, or ``path`` exists.
    """
    scheme = uri.partition(":")[0]
    if scheme not in SIGNER_FOR_URI_SCHEME:
        raise ConfigError(f"{uri!r} begins with none of {', '.join(sorted(SIGNER_FOR_URI_SCHEME))}")
    try:
        key = SSlibKey.from_crypto(load_pem_public_key(public.read_bytes()))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{public} is no public key in PEM form: {error}") from error
    _write(path, _encoded(key, uri), 0o644)
    return key


def read_public(path: Path) -> Key:
    """The public key in a key file.

    Raises:
        ConfigError: the file cannot be read, or is no key file.
    """
    return _read(path)[0]


def open_signer(path: Path) -> Signer:
    """The signer of a key file. A PIN that it needs is read from ``ARMWHEELS_KEY_PIN``.

    Raises:
        ConfigError: the private key cannot be reached, or does not belong to the public one.
    """
    key, uri = _read(path)
    if uri.startswith(FILE) and not Path(uri.removeprefix(FILE)).is_absolute():
        uri = f"{FILE}{path.resolve().parent / uri.removeprefix(FILE)}"
    try:
        return Signer.from_priv_key_uri(uri, key, _secret)
    # Each signer has errors of its own, and securesystemslib asks to catch them all.
    except Exception as error:
        raise ConfigError(f"{path}: its private key {uri} cannot be used: {error}") from error


def _secret(what: str) -> str:
    secret = KEY_PIN.value()
    if not secret:
        raise ConfigError(f"the key asks for its {what}; set {KEY_PIN.name}")
    return secret


def _read(path: Path) -> tuple[Key, str]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        uri, keyid = str(document.pop("signer", "")), str(document.pop("keyid"))
        return Key.from_dict(keyid, document), uri
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no key file, as `armwheels-index tuf key` writes it: {error}"
        ) from error


def _encoded(key: Key, uri: str) -> bytes:
    document = {"keyid": key.keyid, **key.to_dict(), "signer": uri}
    return json.dumps(document, indent=1).encode() + b"\n"


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
