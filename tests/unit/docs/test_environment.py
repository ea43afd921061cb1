"""The tables of environment variables are complete: code and documents name no other variable."""

from __future__ import annotations

import re
from pathlib import Path

import builder.settings
import index_server.settings
from tests.helpers.documents import DOCUMENTS, ROOT

VARIABLE = re.compile(r"\bARMWHEELS_[A-Z0-9_]*[A-Z0-9]\b")
# Set by the builder for processes that it starts itself; nobody else sets them.
INTERNAL = {"ARMWHEELS_OWNER", "ARMWHEELS_TURN", "ARMWHEELS_WORK"}


def named_in(paths: list[Path]) -> set[str]:
    return {name for path in paths for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}


def test_the_builder_names_only_its_variables() -> None:
    known = {each.name for each in builder.settings.VARIABLES}
    index = {each.name for each in index_server.settings.VARIABLES}
    named = named_in(sorted((ROOT / "builder").rglob("*.py")))
    assert named - known - index == INTERNAL
    assert known - named == set()


def test_the_index_server_names_only_its_variables() -> None:
    known = {each.name for each in index_server.settings.VARIABLES if each.name.startswith("ARMWHEELS_")}
    assert named_in(sorted((ROOT / "index_server").rglob("*.py"))) == known


def test_documents_name_only_known_variables() -> None:
    known = {each.name for each in (*builder.settings.VARIABLES, *index_server.settings.VARIABLES)}
    assert named_in([*DOCUMENTS, ROOT / "Makefile"]) <= known
