"""The results of an audit: verdicts and the report. Frozen data, no I/O."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from builder.model.base import Frozen

AUDIT_VERSION = 3
"""Raise this by hand to audit all wheels again. It enters no digest of a wheel."""
Outcome = Literal["pass", "fail", "not-applicable"]


class Verdict(Frozen):
    """The result of one check. ``detail`` is text for people, and ``data`` is for programs."""

    check: str
    outcome: Outcome
    detail: str
    data: dict[str, Any] = Field(default_factory=dict)


class AuditReport(Frozen):
    """All verdicts about one wheel. ``size`` is in bytes. ``passed`` is true if no check failed."""

    filename: str
    sha256: str
    size: int
    target: str
    passed: bool
    verdicts: tuple[Verdict, ...]

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
