"""What an audit is given and what it answers: expectations, verdicts, the report. Frozen data, no I/O."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from builder.model.base import Frozen

Outcome = Literal["pass", "fail", "not-applicable"]


class Verdict(Frozen):
    """The answer of one check: a sentence for people, ``data`` for machines."""

    check: str
    outcome: Outcome
    detail: str
    data: dict[str, Any] = Field(default_factory=dict)


class AuditReport(Frozen):
    """All verdicts about one wheel file. ``size`` is in bytes; it passed when no check failed."""

    filename: str
    sha256: str
    size: int
    target: str
    passed: bool
    verdicts: tuple[Verdict, ...]

    def verdict(self, check: str) -> Verdict:
        """The verdict of that check.

        Raises:
            KeyError: there is no such check.
        """
        for one in self.verdicts:
            if one.check == check:
                return one
        raise KeyError(check)


def passed(check: str, detail: str, **data: Any) -> Verdict:
    """A verdict of agreement."""
    return Verdict(check=check, outcome="pass", detail=detail, data=data)


def failed(check: str, detail: str, **data: Any) -> Verdict:
    """A verdict of refusal; ``detail`` is the reason."""
    return Verdict(check=check, outcome="fail", detail=detail, data=data)


def not_applicable(check: str, detail: str, **data: Any) -> Verdict:
    """A verdict that nothing could be said, with the reason."""
    return Verdict(check=check, outcome="not-applicable", detail=detail, data=data)


def counted(count: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def sized(count: int) -> str:
    """A number of bytes in KiB or MiB."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
