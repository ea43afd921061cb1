"""The builder's key: the file that ``armwheels-index tuf key`` writes, and the signer that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, Signer

from builder.errors import ConfigError
from builder.settings import variable

_FILE = "file2:"


def builder_key() -> Signer | None:
    """The signer of ``ARMWHEELS_SIGNING_KEY``; None where it names no key, so that nothing is signed.

    The URI in the key file says where the private key is: in a file beside it, a PKCS#11 token or a key service, as
    securesystemslib opens them. A PIN is that of ``ARMWHEELS_KEY_PIN``.

    Raises:
        ConfigError: the key file is none, or its private key cannot be used.
    """
    named = variable("ARMWHEELS_SIGNING_KEY")
    if named is None:
        return None
    path = Path(named)
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        uri, keyid = str(document.pop("signer")), str(document.pop("keyid"))
        key = Key.from_dict(keyid, document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no key file, as `armwheels-index tuf key` writes it: {error}"
        ) from error
    if uri.startswith(_FILE) and not Path(uri.removeprefix(_FILE)).is_absolute():
        uri = f"{_FILE}{path.resolve().parent / uri.removeprefix(_FILE)}"
    try:
        return Signer.from_priv_key_uri(uri, key, _secret)
    # Each signer has errors of its own, and securesystemslib asks to catch them all.
    except Exception as error:
        raise ConfigError(f"{path}: its private key {uri} cannot be used: {error}") from error


def _secret(what: str) -> str:
    secret = variable("ARMWHEELS_KEY_PIN")
    if secret is None:
        raise ConfigError(f"the key asks for its {what}; set ARMWHEELS_KEY_PIN")
    return secret


def signing_line(signer: Signer | None) -> str:
    """What a run says about its statements."""
    if signer is None:
        return "statements: none is signed, since ARMWHEELS_SIGNING_KEY names no key"
    return f"statements: signed with the key {signer.public_key.keyid[:8]}"
