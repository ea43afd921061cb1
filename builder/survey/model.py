"""What an audit means for a user of a CPU. Frozen data and pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from builder.audit import AuditReport, Verdict
from builder.model.base import Frozen

_NAMED = 3
_WHEN = {"import": "at import", "called": "when it is called"}


class Answer(StrEnum):
    """Whether a wheel runs on a CPU, the worst first."""

    IMPORT = "dies at import"
    CALLED = "dies when called"
    UNKNOWN = "cannot say"
    CHOSEN = "reached only by dispatch"
    RUNS = "runs"

    @property
    def harmless(self) -> bool:
        """Whether nothing that the CPU lacks runs there."""
        return self in {Answer.CHOSEN, Answer.RUNS}


class Result(Frozen):
    """The answer for one wheel and one target.

    ``reason`` is one sentence, and ``places`` are the first places that decide. ``faults`` are other checks that
    failed, with their first line. ``run`` is what an import under emulation did, if there was one.
    """

    target: str
    answer: Answer
    reason: str
    places: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    run: str | None = None


class Entry(Frozen):
    """One project: its wheel, of ``size`` bytes, and the results. Without a wheel, ``note`` says why."""

    project: str
    version: str = ""
    filename: str = ""
    sha256: str = ""
    size: int = 0
    note: str = ""
    results: tuple[Result, ...] = ()

    @property
    def worst(self) -> Answer:
        """The worst answer over all targets."""
        order = list(Answer)
        return min((one.answer for one in self.results), key=order.index, default=Answer.UNKNOWN)


class Survey(Frozen):
    """All entries. ``schema_version`` grows when a key changes its meaning; ``made`` is a date (ISO 8601)."""

    schema_version: int = 1
    made: str
    python: str
    targets: tuple[str, ...]
    entries: tuple[Entry, ...]


def result_of(report: AuditReport) -> Result:
    """Return the answer that a report gives. Pure."""
    verdict = report.verdict("instructions")
    others = tuple(
        f"{one.check}: {_first_line(one.detail)}"
        for one in report.verdicts
        if one.outcome == "fail" and one.check not in {"instructions", "tuned-code", "run"}
    )
    places: list[dict[str, Any]] = verdict.data.get("places", [])
    run = next((_first_line(one.detail) for one in report.verdicts if one.check == "run"), None)
    answer, reason = _answer(verdict, places)
    worst = places[0]["rank"] if places else ""
    named = tuple(_place(one) for one in places if one["rank"] == worst)[:_NAMED]
    return Result(target=report.target, answer=answer, reason=reason, places=named, faults=others, run=run)


def _answer(verdict: Verdict, places: list[dict[str, Any]]) -> tuple[Answer, str]:
    if verdict.outcome == "not-applicable" or (verdict.outcome == "fail" and not places):
        return Answer.UNKNOWN, _first_line(verdict.detail)
    worst = places[0] if places else None
    if worst is not None and worst["rank"] in _WHEN:
        answer = Answer.IMPORT if worst["rank"] == "import" else Answer.CALLED
        return answer, f"{_place(worst)} runs {_WHEN[worst['rank']]}"
    reasons = [f"{count:,} in {_short(why)}" for why, count in verdict.data.get("allowed", {}).items()]
    if places:
        kinds = ", ".join(sorted({one["extension"] for one in places}))
        where = f"{len(places):,} places that only a choice at run time reaches, or nothing"
        reasons.append(f"{kinds} in {where}")
    if reasons:
        return Answer.CHOSEN, "; ".join(reasons)
    return Answer.RUNS, "every instruction exists on this CPU"


def _short(why: str) -> str:
    """The library of a reason, without how it tests the CPU."""
    return why.partition(": ")[0]


def _place(one: dict[str, Any]) -> str:
    return f"{one['extension']} in {one['function'] or one['address']} of {one['member']}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def counts(entries: Iterable[Entry], target: str) -> dict[Answer, int]:
    """Return how many projects have each answer for a target. Pure."""
    answers = [one.answer for entry in entries for one in entry.results if one.target == target]
    return {answer: answers.count(answer) for answer in Answer}
