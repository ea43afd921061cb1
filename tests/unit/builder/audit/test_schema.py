"""The JSON Schema of reports: it is what the code generates, real reports fit, and it refuses what is none."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from builder.audit.schema import DATA, report_schema
from tests.helpers.auditor import PLAIN, TUNED, Auditor, conforms
from tests.helpers.documents import ROOT
from tests.helpers.elf_builder import make_wheel

SCHEMA: dict[str, Any] = json.loads((ROOT / "configs/audit-report.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_file_is_what_the_code_generates() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert report_schema() == SCHEMA, "run `make docs`"


def test_there_is_a_model_for_each_check(audit: Auditor) -> None:
    assert list(DATA) == [*(verdict.check for verdict in audit.elf(PLAIN).verdicts), "run"]


@pytest.mark.parametrize("target", ["generic", "neoverse-n1", "neoverse-v1"])
def test_real_reports_fit(audit: Auditor, target: str) -> None:
    pure = make_wheel(audit.folder, {"m.py": b""}, name="m-1.0-py3-none-any.whl")
    for report in (audit.elf(TUNED, target), audit.path(pure, target)):
        VALIDATOR.validate(json.loads(report.model_dump_json()))
        conforms(report)


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("instructions", {"places": [{"rank": "never"}]}),
        ("instructions", {"data_words": -1}),
        ("record", {"missing": "all"}),
        ("size", {"bytes": "many"}),
    ],
)
def test_wrong_data_is_refused(audit: Auditor, check: str, change: dict[str, object]) -> None:
    report = json.loads(audit.elf(TUNED, "neoverse-n1").model_dump_json())
    assert VALIDATOR.is_valid(report)
    [verdict] = [one for one in report["verdicts"] if one["check"] == check]
    verdict["data"] |= change
    assert not VALIDATOR.is_valid(report)


@pytest.mark.parametrize("key", ["rank", "member", "function", "address", "extension", "count", "fails"])
def test_a_place_has_all_its_keys(audit: Auditor, key: str) -> None:
    report = json.loads(audit.elf(TUNED, "neoverse-n1").model_dump_json())
    [verdict] = [one for one in report["verdicts"] if one["check"] == "instructions"]
    del verdict["data"]["places"][0][key]
    assert not VALIDATOR.is_valid(report)


def test_a_later_release_may_add_keys_and_checks(audit: Auditor) -> None:
    report = json.loads(audit.elf(TUNED).model_dump_json())
    report["new"] = True
    report["verdicts"][0]["data"]["new"] = True
    report["verdicts"].append({"check": "new", "outcome": "pass", "detail": "", "data": {"any": [1]}})
    assert VALIDATOR.is_valid(report)
    report["schema_version"] = 2
    assert not VALIDATOR.is_valid(report)
