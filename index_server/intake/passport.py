"""Checks the passport of a wheel (``armwheels.json``) by its JSON Schema, and against the file name."""

from __future__ import annotations

from itertools import islice

import orjson
from jsonschema import Draft202012Validator
from packaging.version import Version

from index_server.model import Tuned
from index_server.names import WheelName
from index_server.reasons import MAX_REASONS, Reasons
from index_server.rules.passport import disagreements
from index_server.targets import Targets

MAX_VALUES = 20_000  # in a passport, without keys; the passport of a large framework has a few hundred
MAX_DEPTH = 8  # of nested objects and arrays


def check_passport(
    content: bytes, name: WheelName, targets: Targets, schema: Draft202012Validator, faults: Reasons
) -> Tuned | None:
    """Return the build that a passport describes; None, with the reasons in ``faults``, if it is not valid."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        faults.append(f"passport: not JSON: {error}")
        return None
    if _is_too_large(data):
        faults.append(f"passport: more than {MAX_VALUES} values, or nested deeper than {MAX_DEPTH}")
        return None
    errors = sorted(
        islice(schema.iter_errors(data), MAX_REASONS + 1),
        key=lambda fault: list(map(str, fault.absolute_path)),
    )
    for fault in errors:
        where = ".".join(map(str, fault.absolute_path)) or "(top level)"
        faults.append(f"passport: {where}: {fault.message[:300]}")
    if errors:
        return None
    found = disagreements(data, name, targets)
    if data["digests"]["wheel"].endswith("\n"):  # `$` in the schema's patterns also matches before it (re)
        found.append("digests.wheel ends in a line break")
    if found:
        faults += (f"passport: {fault}" for fault in found)
        return None
    return Tuned(
        build=data["build"],
        recipe=data["recipe"],
        version=str(Version(data["version"])),
        python=data["python"],
        target=data["target"],
        backend=data["backend"],
        default_backend=data["default_backend"],
        wheel_digest=data["digests"]["wheel"],
    )


def _is_too_large(data: object) -> bool:
    """Whether a passport has too many or too deeply nested values to validate it, or to quote it in a reason."""
    level, seen = [data], 0
    for _ in range(MAX_DEPTH):
        level = [
            value
            for each in level
            if isinstance(each, dict | list)
            for value in (each.values() if isinstance(each, dict) else each)
        ]
        seen += len(level)
        if seen > MAX_VALUES:
            return True
    return bool(level)
