"""The results of an audit: verdicts and the report. Frozen data, no I/O."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from builder.model.base import Frozen

AUDIT_VERSION = 5
"""Raise this by hand to audit all wheels again. It enters no digest of a wheel."""
Outcome = Literal["pass", "fail", "not-applicable"]
SchemaVersion = Literal[1]


class _Printed(Frozen):
    """Base of what ``--json`` prints: all keys are there, and each is described in the JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)


class Verdict(_Printed):
    """The result of one check."""

    check: str
    """Name of the check."""
    outcome: Outcome
    """Whether the wheel passes; ``not-applicable`` says that the check did not judge it."""
    detail: str
    """The reason, for people."""
    data: dict[str, Any] = Field(default_factory=dict)
    """The same for programs; :mod:`builder.audit.schema` says what it holds for each check."""


class AuditReport(_Printed):
    """All verdicts about one wheel."""

    schema_version: SchemaVersion = 1
    """Rises when a key goes or changes its meaning; keys and checks may be added without."""
    filename: str
    """Name of the wheel file."""
    sha256: str
    """Hash of the wheel file."""
    size: int
    """Its size in bytes."""
    target: str
    """The CPU target for which it was judged."""
    passed: bool
    """Whether no check failed."""
    verdicts: tuple[Verdict, ...]
    """The verdict of each check."""

    def verdict(self, check: str) -> Verdict:
        """Return the verdict of a check.

        Raises:
            KeyError: there is no such check.
        """
        for one in self.verdicts:
            if one.check == check:
                return one
        raise KeyError(check)


def passed(check: str, detail: str, **data: Any) -> Verdict:
    """Return a verdict that the check passed."""
    return Verdict(check=check, outcome="pass", detail=detail, data=data)


def failed(check: str, detail: str, **data: Any) -> Verdict:
    """Return a verdict that the check failed; ``detail`` is the reason."""
    return Verdict(check=check, outcome="fail", detail=detail, data=data)


def not_applicable(check: str, detail: str, **data: Any) -> Verdict:
    """Return a verdict that the check does not apply; ``detail`` is the reason."""
    return Verdict(check=check, outcome="not-applicable", detail=detail, data=data)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 file``, ``2 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def sized(count: int) -> str:
    """Return a number of bytes in KiB or MiB."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
