"""Reads the environment variables of the index, and makes the settings of a server from them and ``configs/``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from index_server.configs import load_configs
from index_server.errors import ConfigError
from index_server.model import DevelopmentRule
from index_server.targets import Targets

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Variable:
    """An environment variable that the index reads."""

    name: str
    meaning: str
    default: str  # for people; the code beside each variable applies it

    def value(self) -> str | None:
        """The value; None where the variable is unset or empty."""
        return os.environ.get(self.name) or None


HOME = Variable("ARMWHEELS_HOME", "The state folder.", "`var` in the project's folder")
CONFIGS = Variable("ARMWHEELS_CONFIGS", "The folder of configuration.", "`configs` in the project's folder")
STORE = Variable(
    "ARMWHEELS_STORE",
    "Where the index keeps its objects: `file:FOLDER` or `s3://BUCKET/PREFIX`.",
    "`file:` and the folder `store` in `ARMWHEELS_HOME`",
)
S3_ENDPOINT = Variable(
    "ARMWHEELS_S3_ENDPOINT", "The URL of an S3 store that is not AWS's: `http://HOST:PORT`.", "AWS's own"
)
READS = Variable("ARMWHEELS_READS", "Who may read: `open` for everybody, `token` for valid tokens.", "`open`")
UPLOADS_PER_SECOND = Variable(
    "ARMWHEELS_UPLOADS_PER_SECOND", "Uploads that one token may make in a second, on average.", "`20`"
)
ROOT_PATH = Variable(
    "ARMWHEELS_ROOT_PATH", "The path below which a reverse proxy serves the index: `/wheels`.", "none"
)
FORWARDED_ALLOW_IPS = Variable(
    "ARMWHEELS_FORWARDED_ALLOW_IPS",
    "Addresses and networks of proxies whose `X-Forwarded-*` are believed; `*` for all.",
    "`127.0.0.1,::1`",
)
WORKERS = Variable("ARMWHEELS_WORKERS", "Server processes of `armwheels-index serve`.", "`1`")
MAX_CONNECTIONS = Variable(
    "ARMWHEELS_MAX_CONNECTIONS", "Client connections at once, at most; never the last descriptors.", "`1000`"
)
MAX_HEADER_BYTES = Variable("ARMWHEELS_MAX_HEADER_BYTES", "Bytes of a request's header, at most.", "`65536`")
MAX_HEADERS = Variable("ARMWHEELS_MAX_HEADERS", "Fields of a request's header, at most.", "`100`")
HEADER_TIMEOUT = Variable("ARMWHEELS_HEADER_TIMEOUT", "Seconds in which a header must be whole.", "`20`")
KEEP_ALIVE = Variable(
    "ARMWHEELS_KEEP_ALIVE",
    "Seconds that an idle connection stays open; longer than a proxy in front keeps it.",
    "`130`",
)
BODY_TIMEOUT = Variable("ARMWHEELS_BODY_TIMEOUT", "Seconds in which 16 KiB of a body must come.", "`30`")
SEND_TIMEOUT = Variable(
    "ARMWHEELS_SEND_TIMEOUT", "Seconds after which a client that takes nothing is dropped.", "`60`"
)
STORE_ID = Variable(
    "ARMWHEELS_STORE_ID",
    "The id in `store.json` that the store must have; a new or another store is refused.",
    "any store is taken",
)
STORE_TIMEOUT = Variable(
    "ARMWHEELS_STORE_TIMEOUT", "Seconds of silence after which an S3 store counts as away.", "`3`"
)
STALE_SECONDS = Variable(
    "ARMWHEELS_STALE_SECONDS",
    "Seconds for which pages in memory are served while the store is away; `0` is never.",
    "`3600`",
)
FILE_CACHE = Variable(
    "ARMWHEELS_FILE_CACHE",
    "Folder that keeps files of the store which were sent; they are sent from there, also while the store is away.",
    "none is kept",
)
FILE_CACHE_BYTES = Variable(
    "ARMWHEELS_FILE_CACHE_BYTES", "Bytes that this folder holds, at most.", "`10000000000`"
)
METRICS = Variable(
    "ARMWHEELS_METRICS",
    "`token`: `/metrics` needs a token with the scope `metrics`. `open`: everybody may read it.",
    "`token`",
)
ACCESS_LOG = Variable(
    "ARMWHEELS_ACCESS_LOG", "`json`: a line for each request on standard output. `off`: none.", "`off`"
)
ATTESTATION_AUTHORITIES = Variable(
    "ARMWHEELS_ATTESTATION_AUTHORITIES",
    "PEM file of the authorities whose certificates attestations (PEP 740) may have.",
    "every certificate is taken",
)
VARIANTS = Variable(
    "ARMWHEELS_VARIANTS",
    "`on`: wheel variants (PEP 825, a draft) are taken, and shown below `variants/simple/`. `off`: neither.",
    "`off`",
)
TUF_KEYS = Variable(
    "ARMWHEELS_TUF_KEYS",
    "Key files, apart by `:`, with which the server signs moves and yanks (`armwheels-index tuf`).",
    "nothing is signed",
)
KEY_PIN = Variable("ARMWHEELS_KEY_PIN", "The PIN of a key in a PKCS#11 token.", "none")
VARIABLES = (
    HOME,
    CONFIGS,
    STORE,
    S3_ENDPOINT,
    STORE_ID,
    STORE_TIMEOUT,
    STALE_SECONDS,
    FILE_CACHE,
    FILE_CACHE_BYTES,
    METRICS,
    ACCESS_LOG,
    READS,
    ATTESTATION_AUTHORITIES,
    VARIANTS,
    TUF_KEYS,
    KEY_PIN,
    UPLOADS_PER_SECOND,
    ROOT_PATH,
    FORWARDED_ALLOW_IPS,
    WORKERS,
    MAX_CONNECTIONS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    HEADER_TIMEOUT,
    KEEP_ALIVE,
    BODY_TIMEOUT,
    SEND_TIMEOUT,
    Variable("AWS_ACCESS_KEY_ID", "The access key of an S3 store, read by boto3.", "boto3's other sources"),
    Variable("AWS_SECRET_ACCESS_KEY", "Its secret, read by boto3.", "boto3's other sources"),
    Variable("AWS_DEFAULT_REGION", "Its region, read by boto3.", "`us-east-1` with `ARMWHEELS_S3_ENDPOINT`"),
)
"""Every environment variable that the index reads, for the reference."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server knows about its machine and its configuration."""

    store: str
    targets: Targets
    channels: Mapping[str, str]  # name -> description
    passport: Draft202012Validator
    development: Mapping[str, DevelopmentRule] = field(default_factory=dict)  # of channels that have one


def load_settings() -> Settings:
    """Read ``configs/`` and the environment.

    Raises:
        ConfigError: a file or a variable has faults.
    """
    configs = load_configs(configs_folder())
    schema = configs_folder() / "passport.schema.json"
    try:
        text = schema.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{schema}: cannot be read: {error}") from error
    return Settings(
        store=store_address(),
        targets=Targets.from_tables(configs.targets),
        channels={name: channel.description for name, channel in configs.channels.items()},
        development={
            name: DevelopmentRule(versions=channel.dev_versions, days=channel.dev_days)
            for name, channel in configs.channels.items()
            if channel.dev_versions is not None or channel.dev_days is not None
        },
        passport=passport_validator(text, origin=schema),
    )


def configs_folder() -> Path:
    """The folder of configuration."""
    return Path(CONFIGS.value() or ROOT / "configs").resolve()


def home_folder() -> Path:
    """The state folder."""
    return Path(HOME.value() or ROOT / "var").resolve()


def expected_store_id() -> str | None:
    """The id that the store must have, or None where any store is taken."""
    return STORE_ID.value()


def store_timeout() -> float:
    """Seconds of silence after which an S3 store counts as away.

    Raises:
        ConfigError: the variable is no number of seconds.
    """
    return _seconds(STORE_TIMEOUT, 3.0, least=0.1)


def stale_seconds() -> float:
    """Seconds for which pages in memory are served while the store is away.

    Raises:
        ConfigError: the variable is no number of seconds.
    """
    return _seconds(STALE_SECONDS, 3600.0, least=0.0)


def file_cache() -> tuple[Path, int] | None:
    """The folder that keeps files, and its limit in bytes; None where files are not kept.

    Raises:
        ConfigError: the limit is no number of bytes.
    """
    folder, spelled = FILE_CACHE.value(), FILE_CACHE_BYTES.value() or "10000000000"
    if not spelled.isdecimal() or not 1 << 20 <= int(spelled) < 1 << 60:
        raise ConfigError(
            f"{FILE_CACHE_BYTES.name} is {spelled!r}; it is a number of bytes, {1 << 20} at least"
        )
    return (Path(folder).resolve(), int(spelled)) if folder else None


def _one_of(variable: Variable, default: str, *others: str) -> str:
    value = variable.value() or default
    if value not in (default, *others):
        known = " or ".join(f"'{each}'" for each in (default, *others))
        raise ConfigError(f"{variable.name} is {value!r}; it is {known}")
    return value


def metrics_are_open() -> bool:
    """Whether everybody may read ``/metrics``.

    Raises:
        ConfigError: the variable has another value.
    """
    return _one_of(METRICS, "token", "open") == "open"


def access_log() -> bool:
    """Whether each request is logged.

    Raises:
        ConfigError: the variable has another value.
    """
    return _one_of(ACCESS_LOG, "off", "json") == "json"


def variants_are_on() -> bool:
    """Whether wheel variants are taken and shown.

    Raises:
        ConfigError: the variable has another value.
    """
    return _one_of(VARIANTS, "off", "on") == "on"


def _seconds(variable: Variable, default: float, *, least: float) -> float:
    spelled = variable.value() or str(default)
    try:
        seconds = float(spelled)
    except ValueError:
        seconds = -1.0
    if not least <= seconds < 1e7:
        raise ConfigError(f"{variable.name} is {spelled!r}; it is a number of seconds, {least:g} at least")
    return seconds


def scratch_folder() -> Path:
    """Where uploads to an S3 store wait while they are checked, and downloads of the mirror."""
    return home_folder() / "scratch"


def store_address() -> str:
    """The address of the store, for :func:`index_server.store.address.open_store`."""
    return STORE.value() or f"file:{home_folder() / 'store'}"


def s3_endpoint() -> str | None:
    """The URL of an S3 store that is not AWS's, or None.

    Raises:
        ConfigError: the variable holds no URL.
    """
    endpoint = S3_ENDPOINT.value()
    if endpoint and not re.match(r"https?://[^/\s]+", endpoint):
        raise ConfigError(f"{S3_ENDPOINT.name} is {endpoint!r}; write http://HOST:PORT or https://HOST")
    return endpoint


def attestation_authorities() -> Path | None:
    """The PEM file of authorities, if one is named."""
    named = ATTESTATION_AUTHORITIES.value()
    return Path(named) if named else None


def tuf_keys() -> tuple[Path, ...]:
    """The key files with which the server signs."""
    return tuple(Path(part) for part in (TUF_KEYS.value() or "").split(":") if part)


def reads_need_token() -> bool:
    """Whether readers need a token.

    Raises:
        ConfigError: the variable is neither ``open`` nor ``token``.
    """
    return _one_of(READS, "open", "token") == "token"


def uploads_per_second() -> float:
    """How many uploads one token may make in a second, on average.

    Raises:
        ConfigError: the variable is not a number above 0.
    """
    spelled = UPLOADS_PER_SECOND.value() or "20"
    try:
        rate = float(spelled)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e6:
        raise ConfigError(f"{UPLOADS_PER_SECOND.name} is {spelled!r}; it is a number above 0")
    return rate


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
