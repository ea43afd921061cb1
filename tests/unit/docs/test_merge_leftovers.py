"""No file of the project holds the marks that git leaves where a merge was not decided."""

from __future__ import annotations

import re

from tests.helpers.documents import DOCUMENTS, ROOT

MARK = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
FOLDERS = ("builder", "configs", "distributions", "examples", "index_server", "scripts", "tests")
KINDS = {".c", ".cpp", ".h", ".jinja", ".json", ".lock", ".py", ".toml", ".yaml", ".yml"}


def test_no_merge_is_left_undecided() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    assert len(files) > 300
    assert [str(path) for path in (*files, *DOCUMENTS) if MARK.search(path.read_text(encoding="utf-8"))] == []
