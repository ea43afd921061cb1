"""The index of decisions lists each record once, with the date and the status that the record states."""

from __future__ import annotations

import re
from pathlib import Path

DECISIONS = Path(__file__).parents[3] / "docs/decisions"
STATUS = re.compile(r"^Status: (?P<status>[^.]+)\. Date: (?P<date>\d{4}-\d\d-\d\d)\.$", re.MULTILINE)
ROW = re.compile(
    r"^\| \[(?P<name>[\w-]+)\]\((?P<file>[\w.-]+)\) \| [^|]+"
    r" \| (?P<date>[\d-]+) \| (?P<status>[^|]+) \|$"
)


def test_the_index_lists_every_record_with_its_date_and_status() -> None:
    stated = {}
    for record in DECISIONS.glob("*-*.md"):
        status = STATUS.search(record.read_text())
        assert status, f"{record.name} needs a line `Status: accepted. Date: YYYY-MM-DD.`"
        stated[record.name] = (status["date"], status["status"])
    rows = [row for line in (DECISIONS / "README.md").read_text().splitlines() if (row := ROW.match(line))]
    assert {row["file"]: (row["date"], row["status"]) for row in rows} == stated
    assert len(rows) == len(stated)
    assert all(row["file"].startswith(f"{row['name']}-") for row in rows)
