"""Audits as SARIF: valid by the schema of OASIS, with what GitHub requires, and stable where the fault is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.audit import AuditReport, sarif
from builder.audit.sarif import Audited, document
from tests.helpers.auditor import PLAIN, SO, TUNED, Auditor
from tests.helpers.documents import ROOT
from tests.helpers.elf_builder import ADD, RET, SVE_FADD, ElfFile, Function, make_wheel
from tests.helpers.sarif import VALIDATOR, results_of


def of(*reports: AuditReport) -> dict[str, Any]:
    return document(
        [Audited(f"dist/{number}/{one.filename}", one) for number, one in enumerate(reports)], "1.0"
    )


def fingerprints(results: list[dict[str, Any]]) -> list[str]:
    return [one["partialFingerprints"]["primaryLocationLineHash"] for one in results]


def with_places(report: AuditReport, count: int, *, fails: bool) -> AuditReport:
    """The same report with that many places, in functions of their own."""
    verdict = report.verdict("instructions")
    [place] = verdict.data["places"]
    places = [{**place, "function": f"f{number}", "fails": fails} for number in range(count)]
    changed = verdict.model_copy(
        update={"data": {**verdict.data, "places": places}, "outcome": "fail" if fails else "pass"}
    )
    verdicts = tuple(changed if one is verdict else one for one in report.verdicts)
    return report.model_copy(update={"verdicts": verdicts})


@pytest.fixture
def tuned(audit: Auditor) -> AuditReport:
    return audit.elf(TUNED, "neoverse-n1")


class TestResults:
    def test_a_wheel_that_passes_has_none(self, audit: Auditor) -> None:
        report = audit.elf(PLAIN)
        log = of(report)
        assert results_of(log) == []
        [run] = log["runs"]
        assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
        assert run["artifacts"][0]["hashes"] == {"sha-256": report.sha256}
        assert run["automationDetails"] == {"id": "armwheels-audit/generic/"}

    def test_each_check_is_a_rule_and_is_in_the_guide(self, audit: Auditor) -> None:
        checks = [*(verdict.check for verdict in audit.elf(PLAIN).verdicts), "run"]
        assert checks == [rule["id"] for rule in of()["runs"][0]["tool"]["driver"]["rules"]]
        guide = (ROOT / "docs/guides/proof.md").read_text(encoding="utf-8")
        rows = [line.split("|")[1] for line in guide.splitlines() if line.startswith("| `")]
        assert set(checks) <= {name.strip(" `") for row in rows for name in row.split(",")}

    def test_a_place_that_fails_names_function_and_address(self, tuned: AuditReport) -> None:
        [result] = results_of(of(tuned))
        [place] = tuned.verdict("instructions").data["places"]
        [location] = result["locations"]
        assert (result["ruleId"], result["level"]) == ("instructions", "error")
        assert result["message"]["text"].startswith(
            "saxpy has sve instructions, which neoverse-n1 lacks: they run at import. "
            f"{SO}, 2 times, from address {place['address']}"
        )
        assert location["physicalLocation"]["address"] == {
            "absoluteAddress": int(place["address"], 16),
            "kind": "instruction",
        }
        assert location["logicalLocations"] == [
            {"name": "saxpy", "fullyQualifiedName": f"{SO}::saxpy", "kind": "function"}
        ]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == f"dist/0/{tuned.filename}"
        assert result["properties"] == place

    def test_each_fault_of_a_check_is_a_result(self, audit: Auditor) -> None:
        bad = replace(PLAIN, alignment=0x1000, rpath="/opt/lib:$ORIGIN/../../..")
        path = make_wheel(audit.folder, {SO: bad.build()})
        results = results_of(of(audit.path(path)))
        assert [(one["ruleId"], one["level"]) for one in results] == [
            ("alignment", "error"),
            ("rpath", "error"),
            ("rpath", "error"),
        ]
        assert {one["locations"][0]["logicalLocations"][0]["name"] for one in results} == {SO}
        assert results[1]["message"]["text"] == f"{SO}: RPATH '/opt/lib' does not start at $ORIGIN"

    def test_records_and_libraries_are_told_apart(self, audit: Auditor) -> None:
        elf = replace(PLAIN, needed=("libc.so.6", "libfoo.so.1", "libbar.so.2"))
        texts = [one["message"]["text"] for one in results_of(of(audit.elf(elf)))]
        assert texts == [
            "libbar.so.2 is neither in the wheel nor allowed by its tag",
            "libfoo.so.1 is neither in the wheel nor allowed by its tag",
        ]

    def test_a_wheel_without_a_report_makes_the_run_unsuccessful(self, tuned: AuditReport) -> None:
        log = document([Audited("a.whl", None, "not a zip file"), Audited("b.whl", tuned)], "1.0")
        [result] = results_of(log)
        assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "b.whl", "index": 1}
        [invocation] = log["runs"][0]["invocations"]
        assert invocation["executionSuccessful"] is False
        [notice] = invocation["toolExecutionNotifications"]
        assert notice["message"]["text"] == "not a zip file"


class TestBounds:
    def test_places_that_pass_are_notes_and_bounded(self, tuned: AuditReport) -> None:
        results = results_of(of(with_places(tuned, 250, fails=False)))
        assert {one["level"] for one in results} == {"note"}
        assert len(results) == sarif.MOST_NOTES + 1
        assert results[-1]["message"]["text"].startswith("150 more places left out here")

    def test_no_more_results_than_github_shows(self, tuned: AuditReport) -> None:
        many = with_places(tuned, 7000, fails=True)
        assert len(results_of(of(many))) == sarif.MOST_RESULTS
        three = results_of(of(many, many, many))
        assert len(three) == 3 * (sarif.MOST_RESULTS // 3)
        left = [one["message"]["text"] for one in three if "left out" in one["message"]["text"]]
        assert left == ["5,335 more faults left out here. --json has all."] * 3

    def test_faults_come_before_notes(self, tuned: AuditReport) -> None:
        results = results_of(of(with_places(tuned, 3, fails=False), tuned))
        assert [one["level"] for one in results] == ["error", "note", "note", "note"]


class TestFingerprints:
    def test_they_stay_when_addresses_versions_and_grafts_change(self, audit: Auditor) -> None:
        def report(name: str, graft: str, before: int) -> AuditReport:
            padding = Function("padding", (ADD,) * before + (RET,))
            elf = ElfFile(functions=[padding, Function("saxpy", (SVE_FADD, RET))], alignment=0x1000)
            members = {SO: PLAIN.build(), f"m.libs/{graft}": elf.build()}
            return audit.path(make_wheel(audit.folder, members, name=name), "neoverse-n1")

        old = report("m-1.0-cp311-cp311-manylinux_2_17_aarch64.whl", "libx-0a1b2c3d.so.1", 1)
        new = report("m-1.1-cp311-cp311-manylinux_2_28_aarch64.whl", "libx-99887766.so.2.0", 7)
        one, other = results_of(of(old)), results_of(of(new))
        assert fingerprints(one) == fingerprints(other)
        addresses = [
            [each["properties"]["address"] for each in results if "properties" in each]
            for results in (one, other)
        ]
        assert addresses[0] != addresses[1]

    def test_they_differ_between_functions_wheels_and_targets(self, audit: Auditor) -> None:
        body = (SVE_FADD, RET)
        elf = ElfFile(functions=[Function("a", body), Function("b", body)], stripped=False)

        def results(python: str, target: str) -> list[dict[str, Any]]:
            name = f"m-1.0-{python}-{python}-manylinux_2_17_aarch64.whl"
            return results_of(of(audit.path(make_wheel(audit.folder, {SO: elf.build()}, name=name), target)))

        every = [*results("cp311", "generic"), *results("cp312", "generic"), *results("cp311", "neoverse-n1")]
        assert len(every) == 6
        assert len(set(fingerprints(every))) == 6

    def test_equal_faults_of_one_wheel_are_numbered(self, tuned: AuditReport) -> None:
        verdict = tuned.verdict("instructions")
        [place] = verdict.data["places"]
        unnamed = [{**place, "function": f"0x{number:x}"} for number in (16, 32)]
        changed = verdict.model_copy(update={"data": {**verdict.data, "places": unnamed}})
        verdicts = tuple(changed if one is verdict else one for one in tuned.verdicts)
        one, two = fingerprints(results_of(of(tuned.model_copy(update={"verdicts": verdicts}))))
        assert (one.partition(":")[0], two) == (two.partition(":")[0], f"{one.partition(':')[0]}:2")


def test_the_schema_refuses_what_is_no_sarif(tuned: AuditReport, tmp_path: Path) -> None:
    log = of(tuned)
    assert VALIDATOR.is_valid(log)
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not VALIDATOR.is_valid(log)
