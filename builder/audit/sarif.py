"""Audits as SARIF 2.1.0, the form in which code scanners hand over what they found. Pure: data in, data out.

A rule for each check, and a result for each fault of a check that failed. For ``instructions`` a place is a result:
an error where it fails, else a note, since a run on an older CPU reaches it only by a choice at run time.

Sources: OASIS, Static Analysis Results Interchange Format 2.1.0; GitHub, "SARIF support for code scanning"
(required properties and limits).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.audit.schema import InstructionsData, LibrariesData, PlaceData, RecordData
from builder.audit.verdicts import AuditReport, Verdict, counted

Json = dict[str, Any]

TOOL = "armwheels-audit"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST_RESULTS = 5000
"""GitHub shows no more of a run."""
MOST_NOTES = 100
"""Places of one wheel that pass. ``--json`` has all."""
_GUIDE = "Armwheels explains each check in docs/guides/proof.md."
_TEXT_SHOWN = 160
# Checks whose faults begin with the path of a file in the wheel.
_BY_MEMBER = frozenset(
    {"record", "machine", "alignment", "page-size", "loading", "rpath", "licences", "flags", "optimisation"}
)
# What changes in a library's name though the library is the same: the hash that auditwheel adds, and the version.
_UNSTABLE_NAME = re.compile(r"-[0-9a-f]{8}(?=\.)|(?<=\.so)(?:\.\d+)+")
_NUMBER = re.compile(r"0x[0-9a-f]+|\d[\d,.]*")
_WHEN = {
    "import": "run at import",
    "called": "run when something calls them",
    "chosen": "run only if a test of the CPU chose them",
    "unreached": "are behind no branch of their function, as constants are",
}


@dataclass(frozen=True)
class Rule:
    """What a check holds, and what to do where it fails."""

    holds: str
    advice: str


RULES: Mapping[str, Rule] = {
    "record": Rule(
        "RECORD lists every file of the wheel with its hash and size.",
        "Installers refuse a file whose hash differs. Pack the wheel again after the last change to a file.",
    ),
    "machine": Rule(
        "Every ELF file is 64-bit little-endian Arm, and the platform tag says whether there are any.",
        "Leave out files of other machines, or build them for aarch64.",
    ),
    "tag": Rule(
        "File name and WHEEL have the same tags, and each platform tag is one for aarch64.",
        "Tag the wheel with auditwheel, and rename it with a tool that also writes WHEEL.",
    ),
    "symbols": Rule(
        "No symbol of the C and C++ libraries is newer than the platform tag allows.",
        "Build on the manylinux image of the tag, or claim the tag that the report names.",
    ),
    "libraries": Rule(
        "Every needed library is in the wheel or is one that the platform tag allows.",
        "Copy the library into the wheel with `auditwheel repair`.",
    ),
    "instructions": Rule(
        "Every instruction exists on the target, except in code that is chosen at run time.",
        "Compile the file for the target's own -mcpu, or choose the function at run time by what the CPU has. "
        "If it is chosen already, name it in a file of [[allow]] tables (--allow).",
    ),
    "tuned-code": Rule(
        "The tuned instructions that the recipe promises are there.",
        "Check that the compiler got the flags of the target.",
    ),
    "flags": Rule(
        "The machine flags of the compiled units are those of the target.",
        "Look for a build script that sets flags of its own.",
    ),
    "optimisation": Rule(
        "Every unit was compiled with -O1 or more, except those that the recipe names.",
        "Look for a build script that drops or replaces -O.",
    ),
    "alignment": Rule(
        "The segments of every file fit pages of 64 KiB.",
        "Link with -Wl,-z,max-page-size=65536. Kernels with pages of 64 KiB refuse the file otherwise.",
    ),
    "page-size": Rule(
        "jemalloc, which has a page size compiled in, works with pages of 64 KiB.",
        "Configure jemalloc with --with-lg-page=16. The process stops at the first allocation otherwise.",
    ),
    "loading": Rule(
        "No file needs an executable stack, or more static TLS than the loader keeps in reserve.",
        "Mark objects of assembly with a .note.GNU-stack section, and compile with -ftls-model=global-dynamic.",
    ),
    "rpath": Rule(
        "No search path for libraries leads out of the wheel.",
        "Set search paths that begin with $ORIGIN, as `auditwheel repair` does.",
    ),
    "licences": Rule(
        "Each library that was copied in has its licence text in the wheel.",
        "Add the text and name it in the bill of materials.",
    ),
    "size": Rule(
        "The wheel is no larger than its recipe allows.",
        "Strip debug sections, or raise the limit.",
    ),
    "passport": Rule(
        "The wheel's passport is valid and agrees with the file name.",
        "Build the wheel again.",
    ),
    "run": Rule(
        "The modules can be imported on the emulated CPU (--run).",
        "Look at the instruction that is named, as for the check `instructions`.",
    ),
}
"""The rules, by the name of the check."""


@dataclass(frozen=True)
class Audited:
    """A wheel at ``uri``, and its report, or the reason why there is none."""

    uri: str
    report: AuditReport | None
    fault: str | None = None


@dataclass(frozen=True)
class _Fault:
    """A result before it is spelled. ``key`` identifies it whatever the version and the addresses."""

    check: str
    level: str
    text: str
    key: tuple[str, ...]
    member: str | None = None
    place: PlaceData | None = None


def document(audited: Sequence[Audited], version: str) -> Json:
    """Return one SARIF log with one run over all wheels. ``version`` is that of the tool.

    A wheel without a report makes the run unsuccessful: a reader must not take its faults for mended.
    """
    results: list[Json] = []
    seen: Counter[str] = Counter()
    budget = max(2, MOST_RESULTS // max(1, len(audited)))
    for index, one in enumerate(audited):
        if one.report is not None:
            faults = _bounded(one.report, budget)
            results += [_result(fault, one, one.report, index, seen) for fault in faults]
    # A reader that cuts a long list cuts its end.
    results.sort(key=lambda result: result["level"] != "error")
    run: Json = {
        "tool": {"driver": {"name": TOOL, "version": version, "rules": [_rule(check) for check in RULES]}},
        "invocations": [_invocation(audited)],
        "artifacts": [_artifact(one) for one in audited],
        "results": results,
    }
    if targets := sorted({one.report.target for one in audited if one.report}):
        # GitHub takes what stands before the last slash for the category, of which a commit has one upload.
        run["automationDetails"] = {"id": f"{TOOL}/{'+'.join(targets)}/"}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(check: str) -> Json:
    rule = RULES[check]
    text = f"{rule.holds} {rule.advice}"
    return {
        "id": check,
        "shortDescription": {"text": rule.holds},
        "fullDescription": {"text": text},
        "help": {"text": f"{text} {_GUIDE}", "markdown": f"{rule.holds}\n\n{rule.advice}\n\n{_GUIDE}"},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["aarch64", "wheel"]},
    }


def _invocation(audited: Sequence[Audited]) -> Json:
    faults = [
        {
            "level": "error",
            "message": {"text": one.fault or "no report"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": one.uri, "index": index}}}],
        }
        for index, one in enumerate(audited)
        if one.report is None
    ]
    return {"executionSuccessful": not faults, "toolExecutionNotifications": faults}


def _artifact(one: Audited) -> Json:
    artifact: Json = {"location": {"uri": one.uri}, "roles": ["analysisTarget"]}
    if one.report is not None:
        artifact |= {"length": one.report.size, "hashes": {"sha-256": one.report.sha256}}
    return artifact


def _result(fault: _Fault, one: Audited, report: AuditReport, index: int, seen: Counter[str]) -> Json:
    physical: Json = {
        "artifactLocation": {"uri": one.uri, "index": index},
        # GitHub requires lines and columns of every result; a wheel has none.
        "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2},
    }
    location: Json = {"physicalLocation": physical}
    result: Json = {
        "ruleId": fault.check,
        "ruleIndex": list(RULES).index(fault.check),
        "level": fault.level,
        "message": {"text": fault.text},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(fault.key, report, seen)},
    }
    if (place := fault.place) is not None:
        name = place.function or place.address
        physical["address"] = {"absoluteAddress": int(place.address, 16), "kind": "instruction"}
        location["logicalLocations"] = [_logical(name, f"{place.member}::{name}", "function")]
        result["properties"] = place.model_dump(mode="json")
    elif fault.member is not None:
        location["logicalLocations"] = [_logical(fault.member, fault.member, "module")]
    return result


def _logical(name: str, qualified: str, kind: str) -> Json:
    return {"name": name, "fullyQualifiedName": qualified, "kind": kind}


def _fingerprint(key: tuple[str, ...], report: AuditReport, seen: Counter[str]) -> str:
    """Return what stays the same while the fault does: no version, address or count is in it.

    Python and ABI tag are, since a project has a wheel for each; equal faults of one wheel are numbered.
    """
    parts = report.filename.removesuffix(".whl").split("-")
    text = "\0".join((parts[0], *parts[-3:-1], report.target, *key))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"


def _bounded(report: AuditReport, budget: int) -> Iterator[_Fault]:
    """Yield the faults of a wheel, then its notes; where some are left out, a last one says how many."""
    places = [_of_place(place, report.target) for place in _places(report)]
    failing = [fault for fault in places if fault.level == "error"]
    notes = [fault for fault in places if fault.level != "error"]
    errors = [
        fault
        for verdict in report.verdicts
        if verdict.outcome == "fail"
        for fault in (failing if failing and verdict.check == "instructions" else _faults(verdict))
    ]
    kept = errors[: budget - 1]
    yield from kept
    if left := len(errors) - len(kept):
        text = f"{counted(left, 'more fault')} left out here. --json has all."
        yield _Fault(errors[-1].check, "error", text, (errors[-1].check, "left out"))
    room = min(MOST_NOTES, max(0, budget - len(errors) - 1))
    yield from notes[:room]
    if left := len(notes[room:]):
        text = f"{counted(left, 'more place')} left out here, which pass on {report.target}. --json has all."
        yield _Fault("instructions", "note", text, ("instructions", "left out"))


def _places(report: AuditReport) -> tuple[PlaceData, ...]:
    return InstructionsData.model_validate(report.verdict("instructions").data).places


def _of_place(place: PlaceData, target: str) -> _Fault:
    named = place.function if place.function and not place.function.startswith("0x") else ""
    caller = f", called from {_short(place.caller)}" if place.caller else ""
    text = (
        f"{_short(place.function or place.address)} has {place.extension} instructions, which {target} lacks: "
        f"they {_WHEN[place.rank]}. {place.member}, {place.count:,} times, from address {place.address}{caller}."
    )
    return _Fault(
        "instructions",
        "error" if place.fails else "note",
        text,
        ("instructions", _UNSTABLE_NAME.sub("", place.member), named, place.extension),
        place.member,
        place,
    )


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else f"{text[: _TEXT_SHOWN - 1]}…"


def _faults(verdict: Verdict) -> Iterator[_Fault]:
    for text in _texts(verdict):
        member, colon, _ = text.partition(": ")
        known = verdict.check in _BY_MEMBER and colon and " " not in member
        key = (verdict.check, _NUMBER.sub("#", _UNSTABLE_NAME.sub("", text)))
        yield _Fault(verdict.check, "error", text, key, member if known else None)


def _texts(verdict: Verdict) -> tuple[str, ...]:
    """Return the faults of a verdict; the whole detail where they are not told apart."""
    match verdict.check:
        case "record":
            record = RecordData.model_validate(verdict.data)
            found = (
                *(f"{name}: RECORD does not list it" for name in record.unlisted),
                *(f"{name}: RECORD lists it, and the wheel does not have it" for name in record.missing),
                *record.wrong,
            )
        case "libraries":
            libraries = LibrariesData.model_validate(verdict.data)
            found = (
                *(f"{name} is neither in the wheel nor allowed by its tag" for name in libraries.missing),
                *(f"{name} has symbols that the tag forbids" for name in libraries.forbidden),
            )
        case "page-size":
            found = tuple(verdict.detail.splitlines())
        case "run":
            found = tuple(verdict.detail.splitlines()[1:])
        case _:
            found = tuple(verdict.data.get("faults", ())) or tuple(verdict.data.get("unoptimised", ()))
    return found or (verdict.detail,)
