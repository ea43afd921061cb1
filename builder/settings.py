"""Reads ``configs/`` and the environment: the edge where files and variables become frozen data.

All faults of a file are reported together. An unknown key is reported with the nearest known key of its table.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from builder.errors import ConfigError
from builder.model.base import NAME_PATTERN, Name

ROOT = Path(__file__).resolve().parents[1]
_PACKAGED = Path(__file__).resolve().parent / "configs"
WHEEL_TESTS = Path(__file__).resolve().parent / "wheel_tests"  # scripts that recipes name under [verify]
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Variable:
    """An environment variable that the builder reads; ``default`` says what holds without it."""

    name: str
    meaning: str
    default: str


VARIABLES = (
    Variable(
        name="ARMWHEELS_HOME",
        meaning="State folder: toolbox, caches, built wheels, and the store of the local index.",
        default="`var` in the project's folder",
    ),
    Variable(
        name="ARMWHEELS_CONFIGS",
        meaning="Folder of recipes, matrices, targets, toolchains and channels.",
        default="`configs` in the project's folder",
    ),
    Variable(
        name="ARMWHEELS_RECIPES",
        meaning="Further folders of recipes, separated by colons; each may hold `matrices.toml`, too.",
        default="the recipes of `ARMWHEELS_CONFIGS` alone",
    ),
    Variable(
        name="ARMWHEELS_INDEX",
        meaning="URL of the index to publish to.",
        default="an index on loopback, started for each command",
    ),
    Variable(
        name="ARMWHEELS_TOKEN",
        meaning="Token for the index of `ARMWHEELS_INDEX`.",
        default="no token: public reads only",
    ),
    Variable(
        name="ARMWHEELS_APPROVE_AS",
        meaning="Tokens of other people who approve a promotion, separated by spaces (`armwheels promote`).",
        default="no approval",
    ),
    Variable(
        name="ARMWHEELS_READS",
        meaning="`token` makes the local index require a token for reading; then read-only commands make one, too.",
        default="`open`",
    ),
    Variable(
        name="ARMWHEELS_SIGNING_KEY",
        meaning="Key file (`armwheels-index tuf key`) that signs what was found out about published wheels.",
        default="nothing is signed",
    ),
    Variable(
        name="ARMWHEELS_KEY_PIN",
        meaning="The PIN of a key in a PKCS#11 token.",
        default="none",
    ),
    Variable(
        name="ARMWHEELS_REGISTRY_LOGIN",
        meaning="`USER:PASSWORD` for the registry of `armwheels image --push`.",
        default="the registry is asked without a name",
    ),
    Variable(
        name="ARMWHEELS_SHARED_CACHE",
        meaning="`on` shares the compile cache through `ARMWHEELS_INDEX`; the token needs the scope `cache`.",
        default="off",
    ),
    Variable(
        name="ARMWHEELS_TEMPORAL",
        meaning="`HOST:PORT` of the Temporal cluster that carries nights.",
        default="a server on loopback, started for each run",
    ),
    Variable(
        name="ARMWHEELS_LEASE",
        meaning="Seconds without a word from a worker after which its build goes to another one.",
        default="`60`",
    ),
    Variable(
        name="ARMWHEELS_LLVM_MC",
        meaning="The program llvm-mc of `armwheels-audit`, of LLVM 19 or later.",
        default="the one in its wheel, else that of `PATH`",
    ),
    Variable(
        name="ARMWHEELS_DEBIAN_MIRROR",
        meaning="Base URL of a Debian mirror, for hosts whose apt is not set up with one.",
        default="the mirrors of apt",
    ),
    Variable(
        name="ARMWHEELS_DISTDIR",
        meaning="Folder in which Bazel looks for archives before it downloads them.",
        default="`distdir` in the state folder",
    ),
    Variable(
        name="ARMWHEELS_OFFLINE",
        meaning="`on` forbids Bazel all downloads; the error lists the archives that are missing.",
        default="off",
    ),
    Variable(
        name="ARMWHEELS_BAZEL_CACHE",
        meaning="URL of a remote cache for Bazel (`--remote_cache`), besides the local one.",
        default="the local cache alone",
    ),
)
"""Every variable that the builder reads. The ``licensed`` key of a recipe's backend may name further ones."""


def variable(name: str) -> str | None:
    """The value of one of :data:`VARIABLES`; ``None`` where it is unset or empty.

    Raises:
        KeyError: the table has no such variable.
    """
    if not any(one.name == name for one in VARIABLES):
        raise KeyError(name)
    return os.environ.get(name) or None


def configs_dir() -> Path:
    """The folder of recipes, targets and toolchains; that of ``armwheels-audit`` is in the package."""
    own = _PACKAGED if _PACKAGED.is_dir() else ROOT / "configs"
    return Path(variable("ARMWHEELS_CONFIGS") or own).resolve()


def home_dir() -> Path:
    """The state folder."""
    return Path(variable("ARMWHEELS_HOME") or ROOT / "var").resolve()


def index_url() -> str | None:
    """The URL of a remote index; ``None``: commands use an index on loopback."""
    return variable("ARMWHEELS_INDEX")


def temporal_address() -> str | None:
    """``HOST:PORT`` of a Temporal cluster; ``None``: each run starts a server of its own."""
    return variable("ARMWHEELS_TEMPORAL")


def registry_login() -> str | None:
    """``USER:PASSWORD`` for registries of images, if set."""
    return variable("ARMWHEELS_REGISTRY_LOGIN")


def lease_seconds() -> float:
    """Seconds without a heartbeat after which a worker counts as dead; longer than a restart of the server takes.

    Raises:
        ConfigError: the value is no number of seconds from 5 on.
    """
    given = variable("ARMWHEELS_LEASE") or "60"
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0
    if not 5 <= seconds <= 86_400:
        raise ConfigError(f"ARMWHEELS_LEASE is {given!r}; write seconds, from 5 to 86400")
    return seconds


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def load_toml(model: type[ModelT], path: Path) -> ModelT:
    """Read ``path`` into ``model``.

    Raises:
        ConfigError: with every fault of the file, one a line.
    """
    return validate(model, read_toml(path), origin=str(path))


def validate(model: type[ModelT], data: object, *, origin: str) -> ModelT:
    """Validate plain data into ``model``; ``origin`` names the file in the message.

    Raises:
        ConfigError: with every fault, one a line.
    """
    validated: ModelT = _validated(model, data, origin)
    return validated


def validate_tables(model: type[ModelT], data: Mapping[str, object], *, origin: str) -> dict[str, ModelT]:
    """Validate a file whose every top-level table is a ``model``; returns the tables by name.

    Raises:
        ConfigError: with every fault of all tables, one a line.
    """
    tables: dict[str, ModelT] = _validated(dict[Name, model], data, origin)  # type: ignore[valid-type]  # mypy takes no variable for a type
    return tables


def _validated(expected: Any, data: object, origin: str) -> Any:
    try:
        return TypeAdapter(expected).validate_python(_as_tuples(data), strict=True)
    except ValidationError as error:
        lines = [_fault(expected, fault) for fault in error.errors(include_url=False)]
        count = f"{len(lines)} {'fault' if len(lines) == 1 else 'faults'}"
        raise ConfigError("\n  ".join([f"{origin}: {count}", *lines])) from error


def _as_tuples(data: object) -> object:
    """The same data with tuples in place of lists: validation converts no types, and TOML has lists alone."""
    if isinstance(data, Mapping):
        return {key: _as_tuples(value) for key, value in data.items()}
    return tuple(map(_as_tuples, data)) if isinstance(data, list) else data


def _fault(expected: Any, fault: ErrorDetails) -> str:
    """One fault as ``place: message``."""
    place, table = _located(expected, fault["loc"])
    match fault["type"]:
        case "extra_forbidden":
            message = _advice(str(fault["loc"][-1]), table)
        case "missing":
            message = "the key is missing"
        case "union_tag_not_found":
            message = f"the key {fault['ctx']['discriminator']} is missing"
        case "union_tag_invalid":
            message = f"{fault['ctx']['discriminator']} must be one of {fault['ctx']['expected_tags']}"
        case "string_pattern_mismatch" if fault["ctx"]["pattern"] == NAME_PATTERN:
            message = "a name has lower-case letters, digits and single dashes"
        case _:
            message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return f"{place or '(top level)'}: {message}"


def _advice(key: str, table: type[BaseModel] | None) -> str:
    if table is None:
        return "unknown key"
    keys = [field.alias or name for name, field in table.model_fields.items()]
    return f"unknown key; {nearest(key, keys) or 'this table has ' + ', '.join(keys)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice about an unknown name, empty where no known one is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def there_are(name: str, known: Iterable[str]) -> str:
    """Advice about an unknown name: the nearest known one, else all of them."""
    return nearest(name, known) or f"there are {', '.join(sorted(known)) or 'none'}"


def _located(expected: Any, location: tuple[int | str, ...]) -> tuple[str, type[BaseModel] | None]:
    """The place of a fault as the file spells it, and the model of the table that holds its last key."""
    place, here, table = "", _bare(expected), None
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
            here = _bare(get_args(here)[0])
        elif get_origin(here) in (Union, UnionType):
            here = _tagged(here, part)  # pydantic names the member of a union, which the file does not
        elif part != "[key]":
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            place += f".{key}" if place else key
            table = here if isinstance(here, type) and issubclass(here, BaseModel) else None
            here = _value(here, part)
    return place, table


def _bare(annotation: Any) -> Any:
    """A type without ``Annotated`` and without ``| None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [one for one in get_args(annotation) if one is not NoneType]
        if len(members) == 1:
            return _bare(members[0])
    return annotation


def _tagged(union: Any, tag: str) -> Any:
    """The member of a union whose discriminator has the value ``tag``."""
    for member in get_args(union):
        for field in getattr(member, "model_fields", {}).values():
            if get_origin(field.annotation) is Literal and tag in get_args(field.annotation):
                return member
    return None


def _value(annotation: Any, key: str) -> Any:
    """The type of what stands at ``key`` of a table; ``None`` where the table has no such key."""
    if get_origin(annotation) is dict:
        return _bare(get_args(annotation)[1])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if key in (name, field.alias):
                return _bare(field.annotation)
    return None
