"""Reads ``configs/`` and the environment; the edge where files become frozen data."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from index_server.errors import ConfigError
from index_server.targets import Targets

ROOT = Path(__file__).resolve().parents[1]
RESERVED = frozenset({"api", "files", "healthz", "openapi.json", "snapshots", "staging", "upload"})
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a server is told from outside."""

    store: str
    targets: Targets
    channels: Mapping[str, str]  # name -> description
    passport: Draft202012Validator


def load_settings() -> Settings:
    """Read the settings of this machine.

    Raises:
        ConfigError: a file is missing or wrong.
    """
    configs = Path(os.environ.get("ARMWHEELS_CONFIGS") or ROOT / "configs").resolve()
    schema = configs / "passport.schema.json"
    return Settings(
        store=store_address(),
        targets=Targets.from_mapping(_read_toml(configs / "targets.toml")),
        channels=channels_from(_read_toml(configs / "channels.toml")),
        passport=passport_validator(_read(schema), origin=schema),
    )


def store_address() -> str:
    """``ARMWHEELS_STORE``, else ``store`` in ``ARMWHEELS_HOME``, else in the project's own ``var``."""
    return os.environ.get("ARMWHEELS_STORE") or f"file:{_home() / 'store'}"


def s3_endpoint() -> str | None:
    """``ARMWHEELS_S3_ENDPOINT``, for a store that is not AWS's own; the keys are in the usual ``AWS_*``.

    Raises:
        ConfigError: it is no URL.
    """
    endpoint = os.environ.get("ARMWHEELS_S3_ENDPOINT") or None
    if endpoint and not re.match(r"https?://[^/\s]+", endpoint):
        raise ConfigError(f"ARMWHEELS_S3_ENDPOINT is {endpoint!r}; write http://HOST:PORT or https://HOST")
    return endpoint


def scratch_folder() -> Path:
    """Where uploads wait while they are checked, for a store that is no folder: ``ARMWHEELS_HOME/scratch``."""
    return _home() / "scratch"


def _home() -> Path:
    return Path(os.environ.get("ARMWHEELS_HOME") or ROOT / "var").resolve()


def channels_from(data: Mapping[str, Any]) -> dict[str, str]:
    """Channel names with their descriptions.

    Raises:
        ConfigError: with every fault.
    """
    faults = [
        f"channel {name!r}: a name is lower-case letters, digits and single dashes, and no page of the server"
        for name in data
        if not _NAME.match(name) or name in RESERVED
    ]
    faults += [
        f"channel {name!r}: needs a table with a description"
        for name, table in data.items()
        if not isinstance(table, dict) or not isinstance(table.get("description"), str)
    ]
    if faults:
        raise ConfigError("channels.toml:\n" + "\n".join(f"  {fault}" for fault in faults))
    return {name: table["description"] for name, table in data.items()}


def passport_validator(text: str, *, origin: Path) -> Draft202012Validator:
    """The validator of ``armwheels.json``.

    Raises:
        ConfigError: the schema is not a JSON Schema.
    """
    try:
        schema = orjson.loads(text)
        Draft202012Validator.check_schema(schema)
    except (orjson.JSONDecodeError, SchemaError) as error:
        raise ConfigError(f"{origin}: not a JSON Schema: {error}") from error
    return Draft202012Validator(schema)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
